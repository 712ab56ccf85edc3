// A till that knows nothing of tracecode but the folder proto/: it records one sale and prints the verdict.
//
//   node record_sale.js <host:port> <proto folder> <institution> <document number> <drug code> <scan>
//
// Exit status 0 with the verdict as JSON on stdout; 1 with the error as JSON on stderr.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [target, protoFolder, institutionCode, documentNumber, drugCode, scan] = process.argv.slice(2);

const definition = protoLoader.loadSync("tracecode/v1/ledger_service.proto", {
  includeDirs: [protoFolder],
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
});
const { LedgerService } = grpc.loadPackageDefinition(definition).tracecode.v1;
const client = new LedgerService(target, grpc.credentials.createInsecure());

const request = {
  document: {
    institutionCode,
    documentNumber,
    businessTime: { seconds: String(Math.floor(Date.now() / 1000)) },
    lines: [{ lineNumber: 1, drugCode, codes: [scan], quantity: "1" }],
    sale: { stage: "SALE_STAGE_BEFORE_SETTLEMENT", settlementType: "SETTLEMENT_TYPE_INSURED" },
  },
};

client.recordSale(request, { deadline: Date.now() + 5000 }, (error, response) => {
  if (error) {
    console.error(JSON.stringify({ code: grpc.status[error.code], message: error.details }));
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(response.verdict));
  }
  client.close();
});
