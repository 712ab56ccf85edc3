// A gateway that knows nothing of tracecode but the folder proto/: it records sales over one stream, two in a
// message, and prints the results in the order in which they came, one list for each message of answers.
//
//   node record_documents.js <host:port> <proto folder> <institution> <drug code> <scan>...
//
// The scan is also the document's number. Exit status 0 with the results as JSON on stdout; 1 with the
// error as JSON on stderr.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [target, protoFolder, institutionCode, drugCode, ...scans] = process.argv.slice(2);

const definition = protoLoader.loadSync("tracecode/v1/ledger_service.proto", {
  includeDirs: [protoFolder],
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { LedgerService } = grpc.loadPackageDefinition(definition).tracecode.v1;
const client = new LedgerService(target, grpc.credentials.createInsecure());

const requests = scans.map((scan) => ({
  document: {
    institutionCode,
    documentNumber: scan,
    businessTime: { seconds: String(Math.floor(Date.now() / 1000)) },
    lines: [{ lineNumber: 1, drugCode, codes: [scan], quantity: "1" }],
    sale: { stage: "SALE_STAGE_REPORTED", settlementType: "SETTLEMENT_TYPE_INSURED" },
  },
}));

const answers = [];
const stream = client.recordDocuments({ deadline: Date.now() + 10000 });
stream.on("data", (response) => answers.push(response.results));
stream.on("error", (error) => {
  console.error(JSON.stringify({ code: grpc.status[error.code], message: error.details }));
  process.exitCode = 1;
  client.close();
});
stream.on("end", () => {
  if (process.exitCode !== 1) {
    console.log(JSON.stringify(answers));
  }
  client.close();
});
for (let at = 0; at < requests.length; at += 2) {
  stream.write({ requests: requests.slice(at, at + 2) });
}
stream.end();
