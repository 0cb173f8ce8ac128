// The simulated account and the proxy as processes, and a client that goes through the proxy.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';

const API = 'api-version=2024-07-01.20.0';

// What was started ends with this.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** A process whose lines are read; `line` resolves with the first one that matches. */
class Program {
  constructor(binary, args, output) {
    this.child = spawn(binary, args, { stdio: ['ignore', output === 'stdout' ? 'pipe' : 'ignore', output === 'stderr' ? 'pipe' : 'ignore'] });
    this.ended = once(this.child, 'exit');
    process.on('exit', () => this.child.kill('SIGKILL'));
    this.lines = createInterface({ input: this.child[output] });
  }

  line(pattern) {
    return new Promise((resolve, reject) => {
      this.lines.on('line', (line) => {
        const match = pattern.exec(line);
        if (match) resolve(match[1]);
      });
      this.lines.once('close', () => reject(new Error(`ended before it wrote ${pattern}`)));
    });
  }

  async stop() {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}

/** Starts the account with this scenario. */
export async function simulate(binary, scenario, folder) {
  const args = ['simulate', '--listen', '127.0.0.1:0', '--scenario', scenario, '--seed', '7', '--ca-out', `${folder}/account.pem`];
  const program = new Program(binary, args, 'stdout');
  const [address, host] = await Promise.all([
    program.line(/account on (\S+),/),
    program.line(/endpoint +https:\/\/(\S+)/),
    // All of it is there.
    program.line(/(Control-C)/),
  ]);
  return { program, address, host, ca: `${folder}/account.pem` };
}

/** Starts the proxy to this account, on the admin port of an earlier one or on another. */
export async function serve(binary, account, admin = '127.0.0.1:0') {
  const file = `${account.ca}.toml`;
  writeFileSync(file, '');
  const settings = {
    'upstream.resolve': `{"${account.host}:443"="${account.address}"}`,
    'upstream.ca_files': `["${account.ca}"]`,
    'retry.backoff.initial': '200ms',
    'retry.backoff.max': '1s',
    'shutdown.grace': '1s',
  };
  const set = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const args = ['serve', '--listen', '127.0.0.1:0', '--admin-listen', admin, '--log-format', 'json', '--config', file, ...set];
  const program = new Program(binary, args, 'stderr');
  const line = JSON.parse(await program.line(/^(\{.*"listening".*)$/));
  const { proxy, admin: bound } = line.fields || line;
  return { program, proxy, admin: bound, url: `http://${bound}`, file };
}

/** The text at a path of the admin server. */
export async function fetchText(proxy, path) {
  const answer = await fetch(proxy.url + path);
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
  return answer.text();
}

/** A client of the account behind the proxy, one connection for each request. */
export class Client {
  constructor(proxy, account, ca) {
    Object.assign(this, { proxy, account, ca });
  }

  /** The tunnel, opened, and TLS in it. */
  async connection() {
    const [host, port] = this.proxy.proxy.split(':');
    const path = `${this.account.host}:443`;
    const tunnel = request({ host, port, method: 'CONNECT', path, agent: false }).end();
    const [, socket] = await once(tunnel, 'connect');
    const secure = connect({ socket, servername: this.account.host, ca: this.ca });
    await once(secure, 'secureConnect');
    return secure;
  }

  /** Makes one call; resolves with the status. */
  async call(method, path, { body, id } = {}) {
    const connection = await this.connection();
    const text = body ? JSON.stringify(body) : '';
    const headers = {
      Host: this.account.host,
      Authorization: 'Bearer demo',
      'client-request-id': id || crypto.randomUUID(),
      'Content-Length': Buffer.byteLength(text),
      ...(body ? { 'Content-Type': 'application/json; odata=minimalmetadata' } : {}),
    };
    const target = `${path}${path.includes('?') ? '&' : '?'}${API}`;
    const sent = request({ createConnection: () => connection, method, path: target, headers });
    sent.end(text);
    const [answer] = await once(sent, 'response');
    answer.resume();
    await once(answer, 'end');
    connection.destroy();
    return answer.statusCode;
  }

  /** Sends a request and hangs up after a moment, before its answer. */
  async hangUp(path) {
    const connection = await this.connection();
    connection.write(`GET ${path}?${API} HTTP/1.1\r\nHost: ${this.account.host}\r\nAuthorization: Bearer demo\r\n\r\n`);
    await sleep(50);
    connection.destroy();
  }
}

/** A day's work, some calls side by side; resolves with how many calls there were. */
export async function work(client) {
  let calls = 0;
  const call = (...args) => {
    calls += 1;
    return client.call(...args);
  };
  await call('POST', '/pools', { body: { id: 'render', vmSize: 'standard_d2s_v3' } });
  await call('POST', '/jobs', { body: { id: 'frames', poolInfo: { poolId: 'render' } } });
  const ids = Array.from({ length: 60 }, (_, n) => `frame-${String(n).padStart(3, '0')}`);
  const plan = [
    () => call('POST', '/jobs/frames/addtaskcollection', { body: { value: ids.map((id) => ({ id, commandLine: 'true' })) } }),
    ...ids.map((id) => () => call('GET', `/jobs/frames/tasks/${id}`)),
    () => call('GET', '/jobs/missing'),
    () => call('GET', '/jobs/frames/tasks?maxresults=20'),
    ...ids.slice(0, 20).map((id) => () => call('DELETE', `/jobs/frames/tasks/${id}`)),
    // Nothing of it may be read as markup.
    ...Array.from({ length: 3 }, () => () => call('GET', '/pools/%3Cimg%20src=x%3E', { id: '<img src=x onerror=alert(1)>' })),
    ...Array.from({ length: 4 }, () => () => call('POST', '/pools/render/resize', { body: { targetDedicatedNodes: 2 } })),
    ...Array.from({ length: 3 }, () => () => call('POST', '/pools/render/nodes/node-1/reboot', { body: {} })),
  ];
  const next = plan.values();
  const worker = async () => {
    for (const step of next) await step();
  };
  // The first makes what the others read.
  await next.next().value();
  await Promise.all([worker(), worker(), worker(), worker()]);
  await call('POST', '/jobs/frames/terminate', { body: {} });
  await call('DELETE', '/jobs/frames');
  await call('DELETE', '/pools/render');
  return calls;
}
