// The same day's work as workload_15.py on the real @azure/batch 10 client, with its retries off.
'use strict';
const { BatchServiceClient, BatchSharedKeyCredentials } = require('@azure/batch');
const assert = require('node:assert');

const TASKS = 300;

async function main() {
  const credentials = new BatchSharedKeyCredentials(process.env.BATCH_ACCOUNT, process.env.BATCH_KEY);
  const client = new BatchServiceClient(credentials, process.env.BATCH_ENDPOINT, { noRetryPolicy: true });
  const ids = Array.from({ length: TASKS }, (_, n) => `task-${String(n).padStart(4, '0')}`);
  await client.pool.add({ id: 'pool', vmSize: 'standard_d2s_v3' });
  await client.job.add({ id: 'job', poolInfo: { poolId: 'pool' } });
  // It has no bulk helper: a hundred at a time is what the service takes.
  for (let first = 0; first < TASKS; first += 100) {
    const value = ids.slice(first, first + 100).map((id) => ({ id, commandLine: 'true' }));
    const result = await client.task.addCollection('job', value);
    for (const task of result.value) {
      assert.ok(task.status === 'success' || task.error.code === 'TaskExists', JSON.stringify(task));
    }
  }
  let page = await client.task.list('job', { taskListOptions: { maxResults: 50 } });
  const listed = page.map((task) => task.id);
  while (page.odatanextLink) {
    page = await client.task.listNext(page.odatanextLink);
    listed.push(...page.map((task) => task.id));
  }
  assert.deepStrictEqual(listed.sort(), ids);
  const file = await client.file.getFromTask('job', 'task-0000', 'stdout.txt');
  let bytes = 0;
  for await (const piece of file.readableStreamBody) bytes += piece.length;
  assert.ok(bytes > 0, 'the file is empty');
  await client.job.terminate('job', { jobTerminateParameter: { terminateReason: 'done' } });
  await client.job.deleteMethod('job');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
