// Loaded before a script, it makes the two minutes that @azure/batch 10 waits between its tries a hundred times shorter. The number and order
// of the tries, and what they send, stay the client's own.
'use strict';
const { setTimeout: original } = globalThis;

globalThis.setTimeout = (callback, delay, ...values) => original(callback, delay / 100, ...values);
