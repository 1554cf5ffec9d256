// Calls notifications-node-client for a test: each line of the standard input
// is a JSON object that asks for something, each line of the output the answer.
//
//   {"version": "8", "create": [arguments of NotifyClient]}  {"client": 0, "methods": [names], "api": {...}}
//   {"client": 0, "method": "sendSms", "args": [...]}       {"status": 201, "body": {...}}
//
// {"$buffer": base64} stands for a Buffer, {"$axios": {...}} for an instance of
// axios with that configuration.
"use strict";

const readline = require("node:readline");

const clients = [];

function revive(_, value) {
  if (value === null || typeof value !== "object") {
    return value;
  }
  if ("$buffer" in value) {
    return Buffer.from(value.$buffer, "base64");
  }
  if ("$axios" in value) {
    return require(require.resolve("axios", { paths: [require.resolve("notify-8")] })).create(value.$axios);
  }
  return value;
}

// answerOf tells what a client has resolved or returned: the versions have
// different HTTP libraries.
function answerOf(result) {
  if (Buffer.isBuffer(result)) {
    return { value: { $buffer: result.toString("base64") } };
  }
  if (result && result.config && result.headers) {
    return { status: result.status, body: result.data };
  }
  if (result && result.statusCode) {
    return { status: result.statusCode, body: result.body };
  }
  return { value: result === undefined ? null : result };
}

function refusalOf(error) {
  if (error && error.response && error.response.config) {
    return { thrown: String(error), status: error.response.status, body: error.response.data };
  }
  if (error && error.statusCode) {
    return { thrown: String(error), status: error.statusCode, body: error.error };
  }
  return { thrown: String(error) };
}

async function handle(asked) {
  if (asked.create) {
    const { NotifyClient } = require(`notify-${asked.version}`);
    const client = new NotifyClient(...asked.create);
    clients.push(client);
    return { client: clients.length - 1, methods: Object.keys(NotifyClient.prototype), api: client.apiClient };
  }
  return answerOf(await clients[asked.client][asked.method](...asked.args));
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const answer = await handle(JSON.parse(line, revive)).catch(refusalOf);
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
})();
