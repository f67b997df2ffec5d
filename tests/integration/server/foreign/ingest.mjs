// Streams usage records to a Ratewright server from Node, with nothing of ours but the .proto
// files: @grpc/grpc-js and @grpc/proto-loader read them at run time, no stub is generated.
//
//   node ingest.mjs TARGET METER CUSTOMERS BATCHES ROWS PROTO_DIR GOOGLE_PROTO_DIR
//
// TARGET is host:port; METER sums and has the dimension `model`; CUSTOMERS, parted by commas, are
// on a plan since January 2026; GOOGLE_PROTO_DIR holds google/rpc/*.proto, which say how errors
// look. Prints one JSON document: the answers to BATCHES batches of ROWS records each, the answers
// to the same batches sent again, the answer to one batch of odd records, and the error that a
// batch with a faulty column ends its stream with.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [target, meter, customerList, batchCount, rowCount, ...includeDirs] = process.argv.slice(2);
const customers = customerList.split(",");
const rows = Number(rowCount);

// 64-bit integers travel as strings: a JavaScript number is exact to 2^53 only.
const definition = protoLoader.loadSync(
  [
    "ratewright/v1/usage_service.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
  ],
  { includeDirs, longs: String, enums: String, defaults: true },
);
const { UsageService } = grpc.loadPackageDefinition(definition).ratewright.v1;
const client = new UsageService(target, grpc.credentials.createInsecure());

const january = 1_767_225_600_000_000n; // 2026-01-01T00:00:00Z in microseconds

// A batch is columnar: row i of every column is record i; index columns point into dictionaries.
function batch(number) {
  const ids = Array.from({ length: rows }, (_, row) => `node-${number}-${row}`);
  return {
    customers,
    customerIndex: ids.map((_, row) => row % customers.length),
    meters: [{ meter, scale: 0 }],
    dimensionSets: [{ dimensions: { model: "large" } }, { dimensions: { model: "small" } }],
    dimensionSetIndex: ids.map((_, row) => Math.floor(row / customers.length) % 2),
    eventIds: Buffer.from(ids.join("")),
    eventIdLengths: ids.map((id) => Buffer.byteLength(id)),
    quantities: ids.map((_, row) => row + 1),
    eventTimesMicros: ids.map((_, row) => String(january + BigInt(number * rows + row))),
  };
}

// One record each: a quantity that no JavaScript number holds, an id that was used for another
// payload, a meter that does not exist, a customer without a subscription.
function oddBatch() {
  const ids = ["größe", "node-0-0", "unknown-meter", "stranger"];
  return {
    customers: [customers[0], "nobody"],
    customerIndex: [0, 0, 0, 1],
    meters: [{ meter }, { meter: "no-such-meter" }],
    meterIndex: [0, 0, 1, 0],
    eventIds: Buffer.from(ids.join("")),
    eventIdLengths: ids.map((id) => Buffer.byteLength(id)),
    quantities: [String(2n ** 53n + 1n), "77", "1", "1"],
    eventTimesMicros: ids.map(() => String(january)),
  };
}

// Sends batches as fast as the server reads them; resolves to its answers and its error, if any.
async function stream(batches) {
  const call = client.IngestUsage();
  const answers = [];
  const ended = new Promise((resolve) => {
    call.on("data", (answer) => answers.push(answer));
    call.on("error", (error) => resolve(error));
    call.on("end", () => resolve(null));
  });
  for (const [number, columns] of batches.entries()) {
    if (!call.write({ batchNumber: number, batch: columns })) {
      await Promise.race([new Promise((resume) => call.once("drain", resume)), ended]);
    }
  }
  call.end();
  return { answers, error: await ended };
}

// The status that every error carries: its ErrorInfo, and what is wrong with which field.
function readable(error) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const status = definition["google.rpc.Status"].deserialize(bytes);
  const details = status.details.map(({ type_url: url, value }) => {
    const type = url.split("/").at(-1);
    return { type, ...definition[type].deserialize(value) };
  });
  return { code: grpc.status[error.code], message: error.details, details };
}

const batches = Array.from({ length: Number(batchCount) }, (_, number) => batch(number));
const first = await stream(batches);
const again = await stream(batches);
const odd = await stream([oddBatch()]);
const faulty = await stream([batch(0), { ...batch(1), quantities: [1] }]);
client.close();

process.stdout.write(
  JSON.stringify({
    first: first.answers,
    again: again.answers,
    odd: odd.answers,
    faulty: { answers: faulty.answers, error: faulty.error && readable(faulty.error) },
    unexpected: [first, again, odd].flatMap(({ error }) => (error ? [error.message] : [])),
  }) + "\n",
);
