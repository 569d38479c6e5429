// As client.py, with the library for Node: it calls all the time, and says what happened since the last line.
// arguments: the target, and the folder of the modules

const [target, modules] = process.argv.slice(2);
const grpc = require(`${modules}/@grpc/grpc-js`);
require(`${modules}/@grpc/grpc-js-xds`).register();
const raw = (bytes) => bytes;
const client = new grpc.Client(target, grpc.credentials.createInsecure());
let answers = {}, failures = [], metadata = new grpc.Metadata();

function call() {
  const deadline = Date.now() + 5000;
  client.makeUnaryRequest("/test.Names/Get", raw, raw, Buffer.alloc(0), metadata, { deadline }, (error, answer) => {
    if (error) failures.push(error.message);
    else answers[answer.toString()] = (answers[answer.toString()] ?? 0) + 1;
    setTimeout(call, 2);
  });
}

call();
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  metadata = new grpc.Metadata();
  if (line) metadata.set(...line.split("="));
  console.log(JSON.stringify({ answers, failures }));
  answers = {};
  failures = [];
}).on("close", () => process.exit());  // The test has ended; what is killed with it is a wrapper of this.
