// Two charts as SVG: a curve with limits, and candles with fills. Everything is made by the DOM, nothing by text that could be markup.

const NS = 'http://www.w3.org/2000/svg';
const css = name => `var(--${name})`;

function node(kind, attributes = {}, text = null) {
  const made = document.createElementNS(NS, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

export const money = value =>
  value === null || value === undefined || Number.isNaN(+value) ? '–' : (+value).toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

const short = value => {
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toFixed(size >= 1e7 ? 1 : 2)} M`;
  return value.toLocaleString('en-US', { maximumFractionDigits: size < 10 ? 4 : size < 1e4 ? 2 : 0 });
};

const time = ns => new Date(Number(ns) / 1e6);
const pad = number => String(number).padStart(2, '0');

function when(ns, spanNs) {
  const at = time(ns);
  const day = `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`;
  const clock = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;
  return spanNs > 3 * 86400e9 ? day : spanNs > 86400e9 ? `${day.slice(5)} ${clock}` : spanNs > 600e9 ? clock : `${clock}:${pad(at.getUTCSeconds())}`;
}

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(times => times * power).find(size => size >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

function frame(host, low, high, firstNs, lastNs, label) {
  const width = Math.max(300, host.clientWidth), height = Math.max(160, host.clientHeight);
  const right = 68, bottom = 22, top = 8, left = 4;
  const svg = node('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label });
  const span = high - low || 1, duration = lastNs - firstNs || 1;
  const x = ns => left + ((ns - firstNs) / duration) * (width - left - right);
  const y = value => top + ((high - value) / span) * (height - top - bottom);
  for (const value of ticks(low, high, 4)) {
    svg.append(node('line', { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: css('line') }));
    svg.append(node('text', { x: width - right + 6, y: y(value) + 4 }, short(value)));
  }
  for (let part = 0; part <= 3; part++) {
    const ns = firstNs + (duration * part) / 3;
    svg.append(node('text', { x: x(ns), y: height - 6, 'text-anchor': part === 0 ? 'start' : part === 3 ? 'end' : 'middle' }, when(ns, duration)));
  }
  return { svg, x, y, width, height, right, left };
}

function empty(host, text) {
  const paragraph = document.createElement('p');
  paragraph.className = 'quiet';
  paragraph.textContent = text;
  host.replaceChildren(paragraph);
}

export function curve(host, points, lines) {
  if (points.length < 2) return empty(host, 'A point a minute: the curve begins with the second one.');
  const values = points.map(point => +point.equity);
  const first = points[0].at_ns, last = points.at(-1).at_ns;
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * 0.15 || high * 0.002;
  low -= room; high += room;
  const shown = lines.filter(line => line.value >= low - (high - low) * 3 && line.value <= high + (high - low) * 3);
  for (const line of shown) { low = Math.min(low, line.value); high = Math.max(high, line.value); }
  const plot = frame(host, low, high, first, last, `Equity from ${money(values[0])} to ${money(values.at(-1))}`);
  const path = points.map((point, index) => `${index ? 'L' : 'M'}${plot.x(point.at_ns).toFixed(1)} ${plot.y(values[index]).toFixed(1)}`).join('');
  const peaks = points.map((point, index) => `${index ? 'L' : 'M'}${plot.x(point.at_ns).toFixed(1)} ${plot.y(Math.max(+point.high_water, values[index])).toFixed(1)}`);
  const back = points.toReversed().map((point, index) => `L${plot.x(point.at_ns).toFixed(1)} ${plot.y(values[values.length - 1 - index]).toFixed(1)}`);
  plot.svg.append(node('path', { d: `${peaks.join('')}${back.join('')}Z`, fill: css('bad'), opacity: 0.12 }));
  plot.svg.append(node('path', { d: path, fill: 'none', stroke: css('accent'), 'stroke-width': 2, 'stroke-linejoin': 'round' }));
  for (const line of shown) {
    plot.svg.append(node('line', { x1: plot.left, x2: plot.width - plot.right, y1: plot.y(line.value), y2: plot.y(line.value), stroke: css(line.colour), 'stroke-dasharray': '5 4' }));
    const name = node('text', { x: plot.left + 4, y: plot.y(line.value) - 4 }, line.name);
    name.style.fill = css(line.colour);
    plot.svg.append(name);
  }
  host.replaceChildren(plot.svg);
  return null;
}

export function candles(host, bars, fills, quote) {
  if (!bars.length) return empty(host, 'No bars of this instrument yet.');
  const period = bars[0].period_ns;
  const first = bars[0].open_ns, over = bars.at(-1).open_ns + period;
  const last = Math.max(over, Math.min(over + 2 * period, quote?.transact_ns ?? 0)); // the bar that is not over yet has its fills, too
  let low = Math.min(...bars.map(bar => +bar.low)), high = Math.max(...bars.map(bar => +bar.high));
  const mid = quote && quote.bid_px && quote.ask_px ? (+quote.bid_px + +quote.ask_px) / 2 : null;
  const seen = fills.filter(fill => fill.transact_ns >= first && fill.transact_ns <= last);
  for (const price of [...seen.map(fill => +fill.price), ...(mid === null ? [] : [mid])]) { low = Math.min(low, price); high = Math.max(high, price); }
  const room = (high - low) * 0.06 || high * 0.001;
  const plot = frame(host, low - room, high + room, first, last, `${bars.length} bars of ${bars[0].instrument}`);
  const step = (plot.width - plot.left - plot.right) / ((last - first) / period);
  const body = Math.max(1, Math.min(11, step * 0.66));
  for (const bar of bars) {
    const at = plot.x(bar.open_ns + period / 2), up = +bar.close >= +bar.open, colour = css(up ? 'good' : 'bad');
    plot.svg.append(node('line', { x1: at, x2: at, y1: plot.y(+bar.high), y2: plot.y(+bar.low), stroke: colour }));
    const top = plot.y(Math.max(+bar.open, +bar.close)), bottom = plot.y(Math.min(+bar.open, +bar.close));
    plot.svg.append(node('rect', { x: at - body / 2, y: top, width: body, height: Math.max(1, bottom - top), fill: colour }));
  }
  if (mid !== null) plot.svg.append(node('line', { x1: plot.left, x2: plot.width - plot.right, y1: plot.y(mid), y2: plot.y(mid), stroke: css('accent'), 'stroke-dasharray': '2 3' }));
  for (const fill of seen) {
    const at = plot.x(fill.transact_ns), level = plot.y(+fill.price), up = fill.side === 'buy';
    const mark = node('path', { d: up ? `M${at} ${level + 3}l6 10h-12z` : `M${at} ${level - 3}l6 -10h-12z`, fill: css('accent'), stroke: css('card') });
    mark.append(node('title', {}, `${fill.side} ${fill.qty} at ${fill.price}`));
    plot.svg.append(mark);
  }
  host.replaceChildren(plot.svg);
  return null;
}
