// The calls of defaults_15.py on the real @azure/batch 10 client, with its retries as they come: defaults_js.js CALL...
'use strict';
const { BatchServiceClient, BatchSharedKeyCredentials } = require('@azure/batch');

const CALLS = {
  'get job': (client) => client.job.get('job'),
  'create job': (client) => client.job.add({ id: 'job', poolInfo: { poolId: 'pool' } }),
  'delete job': (client) => client.job.deleteMethod('job'),
};

async function main() {
  const credentials = new BatchSharedKeyCredentials(process.env.BATCH_ACCOUNT, process.env.BATCH_KEY);
  const client = new BatchServiceClient(credentials, process.env.BATCH_ENDPOINT);
  for (const call of process.argv.slice(2)) {
    let error = null;
    try {
      await CALLS[call](client);
    } catch (caught) {
      error = String(caught);
      process.exitCode = 1;
    }
    console.log(JSON.stringify({ call, error }));
  }
}

main();
