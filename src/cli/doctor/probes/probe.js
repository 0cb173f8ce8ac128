// Opens a tunnel through the proxy and a TLS connection in it, as the Batch clients for Node do. Which proxy they take is their own code's
// business, so it is given here.
const http = require('http');
const https = require('https');
const tls = require('tls');

const [host, url, proxy] = process.argv.slice(2);

function say(outcome, detail) {
  const line = ['doctor', 'node', process.versions.node, outcome, String(detail || '').replace(/\s+/g, ' ')];
  process.stdout.write(line.join('\t') + '\n', () => process.exit(0));
}

function failed(error) {
  const text = `${error.code || error.name}: ${error.message}`;
  say(/CERT|SELF_SIGNED|ISSUER|certificate/.test(text) ? 'untrusted' : 'failed', text);
}

setTimeout(() => say('failed', 'no answer within 8 s'), 8000);
const { hostname, port } = new URL(proxy);
const connect = http.request({ host: hostname, port, method: 'CONNECT', path: `${host}:443` });
connect.on('error', failed);
connect.on('connect', (answer, socket) => {
  if (answer.statusCode !== 200) return say('failed', `CONNECT was answered with ${answer.statusCode}`);
  const createConnection = () => tls.connect({ socket, servername: host });
  const get = https.get(url, { createConnection, headers: { Authorization: 'Bearer doctor' } }, (response) => {
    const via = String(response.headers['proxy-status'] || '');
    say(via.includes('batch-retry-proxy') ? 'works' : 'direct');
  });
  get.on('error', failed);
});
connect.end();
