//! Backups: every object as a file that `rutter restore` takes.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_store::{Listing, backup_lines};
use tonic::Status;

/// The length at which a chunk is sent, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// The answer of a backup.
pub(super) type Chunks = BoxStream<'static, Result<pb::BackupResponse, Status>>;

/// Returns the file of a backup in chunks, of which each is made when the one before is sent.
pub(super) fn chunks(mut listing: Listing) -> Chunks {
    listing.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut lines = backup_lines(listing);
    let next = move || {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES
            && let Some(line) = lines.next()
        {
            chunk.extend(line);
        }
        (!chunk.is_empty()).then(|| Ok(pb::BackupResponse { chunk: chunk.into() }))
    };
    stream::iter(std::iter::from_fn(next)).boxed()
}

#[cfg(test)]
mod tests {
    use rutter_api::{ConfigKey, CreationTimestamp, Kind};
    use rutter_store::{Owner, Stored};

    use super::*;

    #[tokio::test]
    async fn a_backup_is_sent_in_chunks_of_whole_lines_in_the_order_of_the_keys() {
        let stored = |number: usize| Stored {
            key: ConfigKey::new(Kind::Service, "shop", &format!("s{number:03}")),
            json: format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)).into(),
            revision: 1,
            first_revision: 1,
            created: CreationTimestamp::from_microseconds(5),
            owner: Owner::Api,
        };
        let objects: Vec<Stored> = (0..600).rev().map(stored).collect();
        let sent: Vec<_> = chunks(Listing { revision: 7, objects }).collect().await;
        let sent: Vec<Vec<u8>> = sent.into_iter().map(|chunk| chunk.unwrap().chunk.to_vec()).collect();
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|chunk| chunk.ends_with(b"\n") && chunk.len() < 2 * CHUNK_BYTES));
        let text = String::from_utf8(sent.concat()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 601);
        assert!(lines[0].contains("\"revision\":7"), "{}", lines[0]);
        assert!(lines[1].contains("\"s000\"") && lines[600].contains("\"s599\""));
    }
}
