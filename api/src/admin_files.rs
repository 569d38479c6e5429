//! The files by which the admin API is found and used, whose names the server and its clients share.

/// The name of the admin socket in a data folder.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The name of the admin socket of a control plane without a data folder, in the folder for temporary files.
pub const MEMORY_ADMIN_SOCKET: &str = "rutter-admin.sock";

/// The name of the file with the tokens of the admin API in a data folder.
pub const TOKENS_FILE: &str = "tokens";
