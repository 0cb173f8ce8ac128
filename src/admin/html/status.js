'use strict';
// Shows what /events tells. All text from there is put in as text, never as markup.
(() => {
  const KEEP = 200; // As many replays as the proxy keeps.
  const FEW = 25; // So many rows until more are asked for.
  const PATIENCE = 3000; // Milliseconds without a connection before it counts as lost: the proxy ends each one now and then.

  // In the order in which the chart stacks them.
  const FATES = {
    first_try: ['First try', 'success at once'],
    replayed: ['Replayed', 'success after one replay or more'],
    echo: ['Echo', 'success: an earlier send, whose answer was lost, had done the work'],
    permanent: ['Permanent', 'a final answer that no replay would change, such as a 404'],
    client_gone: ['Client gone', 'nothing: it hung up first'],
    not_replayable: ['Not replayable', 'a failure; a replay could have done harm'],
    exhausted: ['Exhausted', 'a failure; attempts or time were used up'],
    budget: ['Budget', 'a failure; the account had no replay left'],
    repeat: ['Repeat', 'a failure of its own repeat of what was given up'],
    broken: ['Broken', 'an answer cut off under way'],
  };
  const SAVED = ['replayed', 'echo'];
  const FAILED = ['not_replayable', 'exhausted', 'budget', 'repeat', 'broken'];
  const STOPS = {
    attempts: 'no attempts left',
    body: 'its body was too large to be kept',
    budget: 'the account had no replay left',
    deadline: 'the wait would have ended past its deadline',
    gate: 'the account stays closed for too long',
    operation: 'a second execution could do harm',
    repeat: 'the client’s own repeat of what was given up is sent once',
    shutdown: 'the proxy was stopping',
    signature: 'its signature would have been too old',
    token: 'its token would have expired',
  };
  const ECHOES = {
    passed: 'may come of an earlier send',
    resolved: 'an earlier send had done it',
    trusted: 'taken to be an earlier send’s',
    verified: 'an earlier send had made it',
  };
  const CAUSES = { backoff: 'backoff', gate: 'gate', retry_after: 'Retry-After' };

  const byId = (id) => document.getElementById(id);
  const count = new Intl.NumberFormat('en-US');
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  const values = (counts) => Object.values(counts || {});
  const words = (text) => text.replaceAll('_', ' ');
  const label = (fate) => (FATES[fate] || [fate])[0];
  const seconds = (number) => {
    if (number > 0 && number < 0.1) return `${Math.round(number * 1000)} ms`;
    return `${number.toFixed(number > 0 && number < 10 ? 1 : 0)} s`;
  };
  const clock = (date) => date.toLocaleTimeString([], { hour12: false });

  let status = null;
  let replays = []; // The newest first.
  let heard = null; // When the last event came.
  let paused = false;
  let all = false;

  // === Drawing ===

  function write(node, text) {
    if (node.textContent !== String(text)) node.textContent = text;
  }

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // Their roles hold where a narrow window shows a row as a block.
  const row = (...cells) => make('tr', { role: 'row' }, ...cells);
  const cell = (attributes, ...children) => make('td', { role: 'cell', ...attributes }, ...children);
  const rowHead = (...children) => make('th', { role: 'rowheader', scope: 'row' }, ...children);

  // One child for each item, found again by its key, so that focus, selection and what was unfolded stay.
  function keep(parent, items, key, create, update) {
    const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
    let place = parent.firstElementChild;
    for (const item of items) {
      const name = String(key(item));
      let child = known.get(name);
      known.delete(name);
      if (!child) {
        child = create(item);
        child.dataset.key = name;
      }
      if (child === place) place = place.nextElementSibling;
      else parent.insertBefore(child, place);
      if (update) update(child, item);
    }
    for (const child of known.values()) child.remove();
  }

  function swatch(fate) {
    const node = make('span', { class: 'swatch', 'aria-hidden': 'true' });
    node.style.background = `var(--${fate in FATES ? fate : 'permanent'})`;
    return node;
  }

  // Several events in a row are one picture.
  let due = false;
  function draw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      drawAll();
    });
  }

  function drawAll() {
    if (status && !paused) {
      const accounts = Object.entries(status.accounts).sort(([a], [b]) => (a < b ? -1 : 1));
      drawHead();
      drawTotals(accounts);
      drawFates(accounts);
      drawAccounts(accounts);
      drawReplays(accounts.length > 1);
    }
  }

  function drawHead() {
    write(byId('version'), `${status.version} (${status.revision})`);
    const since = new Date(status.started).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short', hour12: false });
    const stands = status.ready ? 'Ready' : `Not ready (${status.not_ready_because})`;
    write(byId('lead'), `${stands} on ${status.proxy_address}, running since ${since}`);
  }

  function fateTotals(accounts) {
    const totals = {};
    for (const [, account] of accounts) {
      for (const [fate, number] of Object.entries(account.requests)) totals[fate] = (totals[fate] || 0) + number;
    }
    return totals;
  }

  function drawTotals(accounts) {
    const fates = fateTotals(accounts);
    const of = (names) => sum(names.map((name) => fates[name] || 0));
    const each = (number) => sum(accounts.map(([, account]) => number(account)));
    const requests = sum(values(fates));
    for (const [name, number] of Object.entries({
      requests,
      saved: of(SAVED),
      failed: of(FAILED),
      replays: each((account) => sum(values(account.retries))),
      throttled: each((account) => account.throttled),
      waiting: each((account) => (account.throttle ? account.throttle.waiting : 0)),
    })) {
      const node = byId(`total-${name}`);
      write(node, count.format(number));
      node.toggleAttribute('data-zero', number === 0);
    }
    byId('empty').hidden = requests > 0;
    if (requests === 0) write(byId('lines'), shellLines());
  }

  // What `serve` prints, with the files fetched from here.
  function shellLines() {
    const port = status.proxy_address.slice(status.proxy_address.lastIndexOf(':'));
    const everywhere = /^(0\.0\.0\.0|\[::\]):/.test(status.proxy_address);
    const proxy = `http://${everywhere ? location.hostname + port : status.proxy_address}`;
    const bundle = '$PWD/bundle.pem';
    return [
      `curl --noproxy '*' -fsSo bundle.pem ${location.origin}/bundle.pem`,
      `export HTTPS_PROXY=${proxy} https_proxy=${proxy}`,
      'export NO_PROXY=169.254.169.254,168.63.129.16,localhost,127.0.0.1',
      `export REQUESTS_CA_BUNDLE=${bundle} SSL_CERT_FILE=${bundle} CURL_CA_BUNDLE=${bundle}   # Python, OpenSSL, Go, .NET, curl`,
      `export NODE_EXTRA_CA_CERTS=${bundle}   # Node`,
    ].join('\n');
  }

  function drawFates(accounts) {
    const recent = status.last_15_minutes;
    const totals = fateTotals(accounts);
    const names = [...new Set([...Object.keys(FATES), ...Object.keys(totals)])].filter((fate) => totals[fate]);
    const table = byId('fates');
    table.hidden = names.length === 0;
    keep(
      table.tBodies[0],
      names,
      (fate) => fate,
      (fate) =>
        make(
          'tr',
          { 'data-fate': fate },
          make('th', { scope: 'row' }, swatch(fate), label(fate)),
          make('td', {}, (FATES[fate] || [])[1] || ''),
          make('td', { class: 'number' }),
          make('td', { class: 'number' }),
        ),
      (line, fate) => {
        write(line.cells[2], count.format(sum(recent.fates[fate] || [])));
        write(line.cells[3], count.format(totals[fate]));
      },
    );
    const shown = names.filter((fate) => recent.fates[fate]);
    drawChart(recent, shown);
    if (byId('minutes').open) drawMinutes(recent, shown);
  }

  function drawChart(recent, names) {
    const chart = byId('chart');
    const slots = 60;
    const heights = Array.from({ length: slots }, (_, slot) => sum(names.map((fate) => recent.fates[fate][slot])));
    const peak = Math.max(...heights, 1);
    const [width, height] = [600 / slots, 120];
    const reached = new Array(slots).fill(0);
    keep(
      chart,
      names,
      (fate) => fate,
      (fate) => {
        const group = document.createElementNS('http://www.w3.org/2000/svg', 'g');
        group.style.fill = `var(--${fate in FATES ? fate : 'permanent'})`;
        for (let slot = 0; slot < slots; slot += 1) {
          const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
          bar.setAttribute('x', slot * width + 0.75);
          bar.setAttribute('width', width - 1.5);
          group.append(bar);
        }
        return group;
      },
      (group, fate) => {
        recent.fates[fate].forEach((number, slot) => {
          // A single request among thousands stays visible.
          const tall = number ? Math.max((number / peak) * (height - 18), 2) : 0;
          reached[slot] += tall;
          group.children[slot].setAttribute('height', Math.max(tall - (reached[slot] > tall ? 0.75 : 0), 0));
          group.children[slot].setAttribute('y', height - reached[slot]);
        });
      },
    );
    const parts = names.map((fate) => `${count.format(sum(recent.fates[fate]))} ${label(fate).toLowerCase()}`);
    const text = parts.length ? `Requests that ended in the last 15 minutes: ${parts.join(', ')}.` : 'No requests in the last 15 minutes.';
    if (chart.getAttribute('aria-label') !== text) chart.setAttribute('aria-label', text);
    write(byId('peak'), parts.length ? `${count.format(Math.max(...heights))} in ${recent.slot_seconds} s at most` : 'No requests');
  }

  function drawMinutes(recent, names) {
    const table = byId('minutes').querySelector('table');
    const perMinute = 60 / recent.slot_seconds;
    const heads = ['Minutes ago', ...names.map(label)];
    table.tHead.replaceChildren(make('tr', {}, ...heads.map((text, n) => make('th', { scope: 'col', class: n ? 'number' : '' }, text))));
    const rows = Array.from({ length: 15 }, (_, ago) => {
      const end = 60 - ago * perMinute;
      const numbers = names.map((fate) => sum(recent.fates[fate].slice(end - perMinute, end)));
      const cells = numbers.map((number) => make('td', { class: 'number' }, count.format(number)));
      return make('tr', {}, make('th', { scope: 'row' }, `${ago} to ${ago + 1}`), ...cells);
    });
    table.tBodies[0].replaceChildren(...rows);
  }

  function drawAccounts(accounts) {
    byId('accounts').hidden = accounts.length === 0;
    byId('no-accounts').hidden = accounts.length > 0;
    keep(
      byId('accounts').tBodies[0],
      accounts,
      ([name]) => name,
      ([name]) => {
        const heads = ['Pace', 'Waiting', 'Replays in budget', 'Requests', 'Replays', 'Throttled'];
        const numbers = heads.map((head) => cell({ class: 'number', 'data-label': head }));
        return row(rowHead(name), cell({}, make('span', { class: 'gate' })), ...numbers);
      },
      (line, [, account]) => {
        const throttle = account.throttle || { gate: 'open', waiting: 0 };
        const gate = line.cells[1].firstElementChild;
        gate.dataset.gate = throttle.gate;
        const closed = `Closed, opens in ${seconds(throttle.closed_for_seconds || 0)}`;
        write(gate, { open: 'Open', paced: 'Paced', closed }[throttle.gate]);
        const pace = throttle.pace_per_second;
        const texts = [
          pace === undefined ? '–' : `${pace.toFixed(pace < 10 ? 1 : 0)} / s`,
          count.format(throttle.waiting),
          throttle.budget_balance === undefined ? '–' : count.format(Math.floor(throttle.budget_balance)),
          count.format(sum(values(account.requests))),
          count.format(sum(values(account.retries))),
          count.format(account.throttled),
        ];
        texts.forEach((text, n) => write(line.cells[n + 2], text));
      },
    );
  }

  function drawReplays(several) {
    byId('replays').hidden = replays.length === 0;
    byId('no-replays').hidden = replays.length > 0;
    const shown = all ? replays : replays.slice(0, FEW);
    // Numbers begin anew with a process, which a window that is not drawn meanwhile does not see come.
    const key = (replay) => `${status.started} ${replay.number} ${several}`;
    keep(byId('replays').tBodies[0], shown, key, (replay) => replayRow(replay, several));
    const more = byId('more');
    more.hidden = replays.length <= FEW;
    write(more, all ? `Show the last ${FEW}` : `Show all ${replays.length}`);
  }

  function replayRow(replay, several) {
    const ended = new Date(replay.ended);
    const failures = replay.sends.filter((send) => send.class !== 'success').map((send) => words(send.outcome));
    const told = [...new Set(failures)].map((outcome) => {
      const times = failures.filter((other) => other === outcome).length;
      return times > 1 ? `${times} × ${outcome}` : outcome;
    });
    const summary = told.join(', ') || 'not sent';
    return row(
      cell({ class: 'number' }, make('time', { datetime: replay.ended, title: ended.toLocaleString() }, clock(ended))),
      rowHead(
        replay.operation,
        make('span', { class: 'path mono' }, `${replay.method} ${replay.path}`),
        several ? make('span', { class: 'account' }, replay.account) : null,
      ),
      cell({}, make('details', {}, make('summary', {}, summary), story(replay))),
      cell({ class: 'number', 'data-label': 'Sends' }, count.format(replay.attempts)),
      cell({ class: 'number', 'data-label': 'Waited' }, seconds(replay.waited_seconds)),
      cell({ class: 'end' }, swatch(replay.fate), label(replay.fate), make('span', { class: 'why' }, why(replay))),
    );
  }

  function why(replay) {
    const stop = replay.stop ? STOPS[replay.stop] || replay.stop : '';
    return [stop, replay.echo ? ECHOES[replay.echo] || replay.echo : ''].filter(Boolean).join('; ');
  }

  function story(replay) {
    const waited = (waits) => {
      const parts = Object.entries(waits || {}).map(([cause, time]) => `${seconds(time)} ${CAUSES[cause] || cause}`);
      return parts.length ? make('li', { class: 'wait' }, `waited ${parts.join(', ')}`) : null;
    };
    const lines = [];
    const omitted = replay.sends_left_out || 0;
    const half = Math.floor(replay.sends.length / 2);
    replay.sends.forEach((send, n) => {
      if (omitted && n === half) lines.push(make('li', { class: 'wait' }, `${omitted} more sends`));
      lines.push(waited(send.waits));
      const number = omitted && n >= half ? n + 1 + omitted : n + 1;
      const id = send.request_id ? make('span', { class: 'ids mono' }, `request-id ${send.request_id}`) : null;
      lines.push(make('li', {}, `${number}. ${words(send.outcome)} (${words(send.class)})`, id));
    });
    lines.push(waited(replay.last_waits));
    const own = replay.client_request_id;
    if (own) lines.push(make('li', {}, make('span', { class: 'ids mono' }, `client-request-id ${own}`)));
    return make('ol', { class: 'sends' }, ...lines.filter((line) => line !== null));
  }

  // === Listening ===

  function hear(event) {
    const news = JSON.parse(event.data);
    // Another process counts anew.
    if (status && status.started !== news.started) replays = [];
    const newest = replays.length ? replays[0].number : 0;
    replays = [...news.replays.filter((replay) => replay.number > newest).reverse(), ...replays].slice(0, KEEP);
    status = news;
    heard = new Date();
    tell('live');
    draw();
  }

  function tell(state) {
    const link = byId('link');
    link.dataset.state = state;
    write(link, paused ? 'Paused' : { live: 'Live', lost: 'No connection', waiting: 'Connecting' }[state]);
    let text = '';
    if (state === 'lost') {
      const last = heard ? ` What you see is from ${clock(heard)}.` : '';
      text = `The proxy does not answer: it has stopped, is starting again, or too many pages are open.${last} Trying again by itself.`;
    } else if (status && status.draining) {
      text = 'The proxy is draining: it takes no new connections and finishes what is under way.';
    } else if (status && status.config.failed) {
      const { reason, since } = status.config.failed;
      text = `The settings cannot be used since ${clock(new Date(since))}, those before them stay in force: ${reason}`;
    } else if (status && status.config.waiting_for_restart.length) {
      text = `Set anew, and in force after a restart only: ${status.config.waiting_for_restart.join(', ')}`;
    }
    write(byId('banner'), text);
    byId('banner').hidden = text === '';
  }

  function listen() {
    const source = new EventSource('/events');
    let grieving = null;
    source.onmessage = (event) => {
      clearTimeout(grieving);
      grieving = null;
      hear(event);
    };
    source.onerror = () => {
      if (grieving === null) grieving = setTimeout(() => tell('lost'), PATIENCE);
      // A refusal ends an EventSource for good.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { clearTimeout(grieving); tell('lost'); listen(); }, PATIENCE);
    };
  }

  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', paused);
    tell(byId('link').dataset.state);
    draw();
  });
  byId('more').addEventListener('click', () => {
    all = !all;
    draw();
  });
  byId('minutes').addEventListener('toggle', draw);
  listen();
})();
