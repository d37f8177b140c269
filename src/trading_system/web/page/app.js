// The page of one desk. It shows what the desk says and asks it to halt, flatten, cancel, acknowledge; it decides nothing.

import { candles, curve, money } from '/chart.js';

const $ = id => document.getElementById(id);
const pct = (value, digits = 2) => (value === null || value === undefined ? '–' : `${(100 * value).toFixed(digits)} %`);
const clock = ns => new Date(Number(ns) / 1e6).toISOString().slice(5, 19).replace('T', ' ');
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');

let session = null;
let events = null;
let market = null;
let shown = { instrument: '', broker: '', bars: [], fills: [], quote: null };

// -- the wire --------------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, body) {
    super(body.text || `the desk answered ${status}`);
    this.status = status;
  }
}

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  const body = await answer.json();
  if (answer.status === 401) logIn();
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

async function tell(method, path, body) {
  const headers = { 'Idempotency-Key': key() };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, found);
  return found;
}

// -- small parts -------------------------------------------------------------------------------------------------------------

function el(kind, { text, cls, title, ...rest } = {}, ...inner) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (cls) made.className = cls;
  if (title) made.title = title;
  Object.assign(made, rest);
  made.append(...inner);
  return made;
}

function table(host, columns, rows, none) {
  if (!rows.length) return host.replaceChildren(el('p', { cls: 'quiet', text: none }));
  const head = el('tr', {}, ...columns.map(([name, , cls]) => el('th', { text: name, cls: cls === 'n' ? 'n' : '', scope: 'col' })));
  const body = rows.map(row => el('tr', {}, ...columns.map(([, cell, cls]) => {
    const value = cell(row);
    return value instanceof Node ? el('td', { cls }, value) : el('td', { cls, text: value ?? '–' });
  })));
  return host.replaceChildren(el('table', {}, el('thead', {}, head), el('tbody', {}, ...body)));
}

const signed = (value, text) => el('span', { cls: value > 0 ? 'good' : value < 0 ? 'bad' : '', text });
const side = word => el('span', { cls: word === 'buy' ? 'good' : 'bad', text: word });

// -- what is drawn -------------------------------------------------------------------------------------------------------------

function drawRisk(risk, book) {
  $('equity').textContent = `${money(risk.equity ?? book.equity)} ${book.currency}`;
  const change = risk.equity === null || risk.equity === undefined ? null : risk.equity - risk.day_start;
  $('today').replaceChildren(change === null ? '–' : signed(change, `${change >= 0 ? '+' : '−'}${money(Math.abs(change))} (${pct(Math.abs(change / risk.day_start))})`));
  $('drawdown').replaceChildren(risk.drawdown > 0 ? signed(-1, pct(risk.drawdown)) : '0 %');
  $('leverage').textContent = book.leverage === null ? '–' : `${(+book.leverage).toFixed(2)} ×`;
  $('halts').replaceChildren(...risk.halts.map(halt => el('div', { text: `HALTED ${halt.scope} (${halt.level}), ${halt.rule}: ${halt.text}` })));
  $('resume').hidden = !risk.halts.length || !session.scopes.includes('arm');
  const names = { day_loss: 'Loss of the day', drawdown: 'Drawdown', leverage: 'Leverage', largest_position: 'Largest position', crypto_day_loss: 'Crypto: loss of the day', crypto_drawdown: 'Crypto: drawdown', crypto_leverage: 'Crypto: leverage', crypto_largest_position: 'Crypto: largest position', positions: 'Positions', open_orders: 'Working orders' };
  $('limits').replaceChildren(...risk.limits.map(limit => {
    const used = limit.used === null ? null : +limit.used;
    const part = /loss|drawdown|largest/.test(limit.name), times = limit.name.endsWith('leverage');
    const say = value => (value === null ? '–' : part ? pct(value, 1) : times ? `${(+value).toFixed(2)} ×` : `${+value}`);
    const cls = used === null ? '' : used >= 1 ? 'over' : used >= 0.8 ? 'near' : '';
    return el('div', { cls: `bar ${cls}` }, el('span', { text: names[limit.name] ?? limit.name }), el('span', { cls: 'quiet', text: `${say(limit.now)} of ${say(limit.limit)}` }),
      el('progress', { max: 1, value: Math.min(1, used ?? 0), ariaLabel: names[limit.name] ?? limit.name }));
  }));
}

function drawBook(book) {
  $('sums').textContent = `long ${money(book.long)}, short ${money(book.short)} ${book.currency}`;
  table($('positions'), [
    ['Instrument', row => row.instrument], ['Broker', row => row.broker], ['Units', row => row.qty, 'n'], ['Bought at', row => row.avg_px && money(row.avg_px), 'n'],
    ['Mark', row => row.mark_px && money(row.mark_px), 'n'], [`Worth, ${book.currency}`, row => row.worth && money(row.worth), 'n'], ['Of equity', row => pct(row.part, 1), 'n'],
    ['Not realised', row => (row.unrealized_pnl === null ? null : signed(+row.unrealized_pnl, money(row.unrealized_pnl))), 'n'],
  ], book.positions, 'Nothing is held.');
}

function drawOrders(orders) {
  table($('orders'), [
    ['Placed', row => clock(row.sent_ns)], ['Broker', row => row.broker], ['Instrument', row => row.instrument], ['Side', row => side(row.side)],
    ['Type', row => row.ord_type.replaceAll('_', ' ')], ['Units', row => row.order_qty ?? row.cash_order_qty, 'n'], ['Filled', row => row.cum_qty, 'n'],
    ['Price', row => row.price && money(row.price), 'n'], ['Stop', row => row.stop_px && money(row.stop_px), 'n'],
    ['Status', row => el('span', { cls: row.doubt === 'none' ? 'tag' : 'tag warn', text: row.doubt === 'none' ? row.ord_status.replaceAll('_', ' ') : row.doubt.replaceAll('_', ' '), title: row.text })],
    ['', row => cancelButton(row)],
  ], orders, 'No order works.');
}

function cancelButton(row) {
  const button = el('button', { text: 'Cancel', disabled: !session.scopes.includes('trade'), ariaLabel: `Cancel ${row.side} ${row.instrument}` });
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await tell('DELETE', `/v1/orders/${encodeURIComponent(row.cl_ord_id)}`);
    } catch (error) {
      button.title = error.message;
      button.textContent = 'not cancelled';
    }
    refresh();
  });
  return button;
}

function drawFills(fills) {
  table($('fills'), [
    ['Time', row => clock(row.transact_ns)], ['Instrument', row => row.instrument], ['Side', row => side(row.side)], ['Units', row => row.qty, 'n'],
    ['Price', row => money(row.price), 'n'], ['Fee', row => (+row.fee ? `${row.fee} ${row.fee_currency}` : '–'), 'n'], ['Broker', row => row.broker],
  ], fills.slice(-30).reverse(), 'No fill yet.');
}

function drawAlerts(alerts) {
  const may = session.scopes.includes('halt');
  $('ack-all').hidden = alerts.length < 2 || !may;
  $('alerts').replaceChildren(...(alerts.length ? alerts.slice(-40).reverse().map(alert => {
    const seen = el('button', { cls: 'plain', text: 'Seen', disabled: !may, ariaLabel: `Seen: ${alert.text}` });
    seen.addEventListener('click', () => acknowledge(alert.number));
    const word = el('span', { cls: alert.severity === 'critical' ? 'bad' : alert.severity === 'warning' ? 'warn' : '', text: `${clock(alert.now_ns)} ${alert.severity}` });
    return el('div', { cls: 'line' }, word, el('span', { text: alert.text }), seen);
  }) : [el('p', { cls: 'quiet', text: 'Nothing waits to be seen.' })]));
}

async function acknowledge(number) {
  try {
    drawAlerts(await tell('POST', '/v1/alerts', { number }));
  } catch {
    refresh();
  }
}

function drawDecisions(decisions, strategies) {
  $('strategies').textContent = strategies.map(item => `${item.name}${item.disabled ? ' (disabled)' : ''}`).join(', ');
  table($('decisions'), [
    ['Time', row => clock(row.now_ns)], ['Strategy', row => row.strategy], ['Instrument', row => row.instrument],
    ['', row => el('span', { cls: row.taken ? 'good' : 'warn', text: row.taken ? 'taken' : 'left' })], ['Units', row => row.qty, 'n'],
    ['Rule that bound', row => row.rule], ['Why', row => row.text || '–', 'text'],
  ], decisions.slice().reverse(), 'No strategy has wished for anything yet.');
}

function drawBrokers(brokers, accounts) {
  $('brokers').replaceChildren(...brokers.map(broker => {
    const account = accounts.find(item => item.broker === broker.broker);
    const text = account ? `${money(account.equity)} ${account.currency}, account ${account.account}` : 'not heard of yet';
    const lines = (broker.streams).map(stream => el('div', { cls: [null, 'live', 'backfilled'].includes(stream.link) ? 'quiet' : 'warn', text: `${stream.name}: ${stream.link ?? `heard at ${clock(stream.heard_ns)}`}${stream.text ? ` (${stream.text})` : ''}` }));
    const budgets = (broker.budgets).map(budget => el('div', { cls: 'quiet', text: `${budget.name}: ${budget.left} of ${budget.limit} left` }));
    return el('div', { cls: 'line' }, el('span', { cls: broker.ready ? 'dot' : 'dot off', title: broker.ready ? 'ready' : 'not ready for new risk' }),
      el('div', {}, el('strong', { text: broker.title }), el('div', { cls: 'quiet', text }), ...lines, ...budgets), el('span', { cls: broker.ready ? 'good' : 'bad', text: broker.ready ? 'ready' : 'not ready' }));
  }));
}

function drawCurve(points, risk) {
  const of = name => +(risk.limits.find(limit => limit.name === name)?.limit ?? 0);
  const lines = risk.equity === null || risk.equity === undefined ? [] : [
    { name: 'high', value: +risk.high_water, colour: 'quiet' },
    { name: 'limit of the day', value: risk.day_start * (1 - of('day_loss')), colour: 'bad' },
    { name: 'drawdown limit', value: risk.high_water * (1 - of('drawdown')), colour: 'bad' },
  ];
  curve($('equity-chart'), points, lines);
}

// -- the market ----------------------------------------------------------------------------------------------------------------

function drawQuote() {
  const quote = shown.quote;
  $('quote').textContent = quote ? `${quote.instrument}   bid ${quote.bid_px ?? '–'} × ${quote.bid_qty}   ask ${quote.ask_px ?? '–'} × ${quote.ask_qty}   ${clock(quote.transact_ns)}` : '';
}

const drawCandles = () => candles($('candles'), shown.bars, shown.fills.filter(fill => fill.instrument === shown.instrument && fill.broker === shown.broker), shown.quote);

async function loadBars() {
  if (!shown.instrument) return;
  const period = +$('period').value;
  const query = new URLSearchParams({ instrument: shown.instrument, broker: shown.broker, period_ns: String(period * 1e9), count: '120' });
  try {
    shown.bars = await ask(`/v1/bars?${query}`);
    drawCandles();
  } catch (error) {
    $('candles').replaceChildren(el('p', { cls: 'bad', text: error.message }));
  }
}

function follow(instrument, broker) {
  shown = { ...shown, instrument, broker, bars: [], quote: null };
  localStorage.setItem('instrument', `${broker} ${instrument}`);
  $('instrument').value = instrument;
  market?.close();
  market = new EventSource(`/v1/stream?${new URLSearchParams({ instruments: instrument, broker })}`);
  let due = 0;
  market.addEventListener('quote', event => {
    shown.quote = JSON.parse(event.data);
    drawQuote();
    if (Date.now() > due) { due = Date.now() + 2000; drawCandles(); }
  });
  market.onerror = () => {
    if (market.readyState === EventSource.CLOSED) $('quote').textContent = `no prices of ${instrument} here`;
  };
  loadBars();
}

// -- keeping up ----------------------------------------------------------------------------------------------------------------

let waiting = null;
function refresh() {
  waiting ??= setTimeout(async () => {
    waiting = null;
    try {
      await draw();
    } catch (error) {
      if (error.status !== 401) lost(error.message);
    }
  }, 250);
}

async function draw() {
  const [risk, book, orders, fills, alerts, decisions, strategies, brokers, status, points] = await Promise.all([
    '/v1/risk', '/v1/portfolio', '/v1/orders', '/v1/fills', '/v1/alerts', '/v1/decisions?count=40', '/v1/strategies', '/v1/brokers', '/v1/status', '/v1/equity?hours=24',
  ].map(ask));
  shown.fills = fills;
  drawRisk(risk, book);
  drawBook(book);
  drawOrders(orders);
  drawFills(fills);
  drawAlerts(alerts);
  drawDecisions(decisions, strategies);
  drawBrokers(brokers, status.accounts);
  drawCurve(points, risk);
  if (!$('broker').options.length) {
    $('broker').replaceChildren(...brokers.map(item => el('option', { value: item.broker, text: item.title })));
    const [broker, instrument] = (localStorage.getItem('instrument') ?? '').split(' ');
    const known = brokers.some(item => item.broker === broker);
    const first = book.positions[0] ?? { broker: brokers[0].broker, instrument: { binance: 'BTC/USDT', bybit: 'BTC/USDT', kraken: 'BTC/USD', oanda: 'EUR/USD' }[brokers[0].broker.split('-')[0]] ?? 'AAPL' };
    $('broker').value = known ? broker : first.broker;
    follow(known && instrument ? instrument : first.instrument, $('broker').value);
  }
}

function live() {
  $('link').className = 'link';
  $('link').textContent = 'up to date';
}

function lost(text) {
  $('link').className = 'link lost';
  $('link').textContent = text;
}

function listen() {
  events?.close();
  events = new EventSource('/v1/events?after=-1');
  events.onopen = () => { live(); refresh(); };
  events.onerror = () => {
    lost('the desk does not answer; asking again');
    if (events.readyState === EventSource.CLOSED) setTimeout(begin, 2000);
  };
  for (const kind of ['started', 'intent', 'reported', 'doubted', 'closed_unsent', 'escalated', 'cancel_asked', 'halt_set', 'halt_cleared', 'marked', 'adjusted', 'flowed',
    'cash_adjusted', 'alert', 'alert_acked', 'armed', 'decided', 'routed']) events.addEventListener(kind, refresh);
}

async function goal() {
  try {
    const plan = await ask('/v1/plan');
    const odds = value => (value > 0 && value < 0.0001 ? 'below 0.01 %' : pct(value, value < 0.01 ? 2 : 1));
    $('goal').textContent = `goal ${money(plan.target)} in ${Math.round(plan.days)} days from ${money(plan.capital)}: under your limits ${odds(plan.simulated.p_touch)} with a Sharpe ratio of ${plan.sharpe}, ${odds(plan.simulated.p_halted)} to be halted`;
  } catch {
    $('goal').textContent = '';
  }
}

// -- beginning and ending ----------------------------------------------------------------------------------------------------------

function logIn() {
  events?.close();
  market?.close();
  session = null;
  $('desk').hidden = true;
  $('login').hidden = false;
  $('token').focus();
}

async function begin() {
  try {
    session = await ask('/v1/session');
  } catch (error) {
    if (error.status === undefined) { lost('the desk does not answer; asking again'); setTimeout(begin, 2000); }
    return;
  }
  document.documentElement.dataset.kind = session.environment;
  $('kind').textContent = session.environment.toUpperCase();
  document.title = `${session.environment.toUpperCase()} desk`;
  $('login').hidden = true;
  $('desk').hidden = false;
  $('halt').disabled = !session.scopes.includes('halt');
  $('flatten').disabled = !session.scopes.includes('trade');
  listen();
  goal();
}

$('login').addEventListener('submit', async event => {
  event.preventDefault();
  const answer = await fetch('/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token: $('token').value.trim() }) });
  $('login-error').textContent = answer.ok ? '' : (await answer.json()).text;
  if (answer.ok) { $('token').value = ''; begin(); }
});

$('logout').addEventListener('click', async () => {
  await fetch('/v1/session', { method: 'DELETE' });
  logIn();
});

function typed(word, title, text, act) {
  const dialog = $('ask');
  $('ask-title').textContent = title;
  $('ask-text').textContent = text;
  $('ask-what').textContent = word;
  $('ask-yes').textContent = title;
  $('ask-yes').disabled = true;
  $('ask-word').value = '';
  $('ask-error').textContent = '';
  $('ask-word').oninput = () => { $('ask-yes').disabled = $('ask-word').value.trim().toLowerCase() !== word; };
  dialog.querySelector('form').onsubmit = async event => {
    event.preventDefault();
    if ($('ask-yes').disabled) return;
    $('ask-yes').disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      $('ask-error').textContent = error.message;
    }
    refresh();
  };
  dialog.showModal();
  $('ask-word').focus();
}

const halt = () => typed('halt', 'Halt', 'Nothing that takes new risk leaves any more, at any broker. Exits still pass, and it stays so over restarts.', () => tell('POST', '/v1/halt', { scope: 'all', text: 'set on the page' }));
const flatten = () => typed('flatten', 'Flatten', 'Cancels every order and closes every position at every broker, at the market.', async () => {
  const left = await tell('POST', '/v1/flatten', { confirm: 'flatten' });
  const rest = [...left.positions.filter(row => !row.dust).map(row => `${row.broker} ${row.instrument} ${row.qty}`), ...left.orders, ...left.problems];
  if (rest.length) throw new Error(`Not all is closed: ${rest.join('; ')}`);
});
const resume = () => typed('resume', 'Resume', 'Clears the halts: new risk may be taken again.', () => tell('POST', '/v1/resume', { confirm: 'resume' }));

function theme() {
  const root = document.documentElement, dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = root.dataset.theme ?? (dark ? 'dark' : 'light');
  root.dataset.theme = now === 'dark' ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
}

$('halt').addEventListener('click', halt);
$('flatten').addEventListener('click', flatten);
$('resume').addEventListener('click', resume);
$('theme').addEventListener('click', theme);
$('keys').addEventListener('click', () => $('help').showModal());
$('ask-no').addEventListener('click', () => $('ask').close());
$('ack-all').addEventListener('click', () => acknowledge(0));
$('period').addEventListener('change', loadBars);
$('broker').addEventListener('change', () => follow(shown.instrument, $('broker').value));
$('instrument').addEventListener('change', () => follow($('instrument').value.trim().toUpperCase(), $('broker').value));
document.addEventListener('keydown', event => {
  if (event.target.matches('input, select, textarea') || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') || !session) return;
  const act = { h: halt, f: flatten, t: theme, '?': () => $('help').showModal(), '/': () => $('instrument').select() }[event.key];
  if (act && !(event.key === 'h' && $('halt').disabled) && !(event.key === 'f' && $('flatten').disabled)) { event.preventDefault(); act(); }
});
addEventListener('resize', () => { if (session) { drawCandles(); refresh(); } });
if (localStorage.getItem('theme')) document.documentElement.dataset.theme = localStorage.getItem('theme');
setInterval(() => { if (session) { refresh(); loadBars(); } }, 30000);
begin();
