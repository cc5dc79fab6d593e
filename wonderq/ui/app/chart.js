// Charts over time, with the same values as a table for those who cannot see them.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { clockTime, number, rate } from "./format.js";

/** A colour of the present scheme, as a canvas takes it. @param {HTMLElement} place @param {string} name */
function color(place, name) {
  place.style.color = `var(${name})`;
  const found = getComputedStyle(place).color;
  place.style.color = "";
  return found;
}

/**
 * @param {{title: string, ended: string, step: number, points: number, height?: number, isRate?: boolean,
 *   series: {label: string, color: string, values: number[]}[]}} properties
 */
export function Chart({ title, ended, step, points, series, height = 150, isRate = false }) {
  const place = useRef(/** @type {any} */ (null));
  const end = Date.parse(ended) / 1000;
  const length = series[0].values.length;
  const times = Array.from({ length }, (_, at) => Math.round(end - (length - 1 - at) * step));
  // A young history is not a speck at the edge of an empty hour.
  const shown = Math.min(points, Math.max(length, 60));
  const show = isRate ? rate : number;
  const newest = `${ended} ${length} ${series.map((each) => each.values[length - 1])} ${document.documentElement.dataset.theme}`;
  useEffect(() => {
    if (length < 2) return undefined;
    let isGone = false;
    let remove = () => {};
    // The library is larger than all else, so the page does not wait for it.
    import("../vendor/uplot.js").then(
      ({ default: uPlot }) => {
        if (!isGone) remove = draw(uPlot);
      },
      () => {}, // the broker does not answer; the next point asks again
    );
    return () => {
      isGone = true;
      remove();
    };
  }, [newest, height]);

  /** Draw the chart, and return what removes it. @param {any} uPlot */
  function draw(uPlot) {
    const axis = { stroke: color(place.current, "--faint"), grid: { stroke: color(place.current, "--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const plot = new uPlot(
      {
        width: place.current.clientWidth,
        height,
        cursor: { y: false },
        legend: { show: true, live: true },
        scales: { x: { range: () => [end - (shown - 1) * step, end] }, y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, Math.max(most * 1.1, 1)] } },
        axes: [
          { ...axis, size: 28, space: 70, values: (/** @type {any} */ _, /** @type {number[]} */ values) => values.map((value) => clockTime(new Date(value * 1000)).slice(0, 5)) },
          { ...axis, size: 64, values: (/** @type {any} */ _, /** @type {number[]} */ values) => values.map((value) => (Number.isInteger(value) ? number(value) : isRate ? rate(value) : "")) },
        ],
        series: [
          { value: (/** @type {any} */ _, /** @type {number | null} */ value) => (value === null ? "now" : clockTime(new Date(value * 1000))), label: "Time" },
          ...series.map((each) => ({
            label: each.label,
            stroke: color(place.current, each.color),
            width: 1.5,
            points: { show: false },
            value: (/** @type {any} */ _, /** @type {number | null} */ value) => show(value ?? each.values[length - 1]),
          })),
        ],
      },
      [times, ...series.map((each) => each.values)],
      place.current,
    );
    const observer = new ResizeObserver(() => plot.setSize({ width: place.current.clientWidth, height }));
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }
  const rows = times.map((time, at) => [time, at]).filter(([, at]) => (length - 1 - at) % Math.max(1, Math.floor(length / 30)) === 0);
  return html`<figure class="chart"><figcaption>${title}</figcaption>
    ${length < 2
      ? html`<p class="faint chart-empty">The history begins with the start of the broker. The first line appears in ${step * 2} seconds.</p>`
      : html`<div ref=${place} class="plot" aria-hidden="true"></div>
          <details><summary>As a table</summary><div class="scroll" tabindex="0" role="region" aria-label=${title}><table>
            <thead><tr><th scope="col">Time</th>${series.map((each) => html`<th scope="col" class="n">${each.label}</th>`)}</tr></thead>
            <tbody>${rows.map(([time, at]) => html`<tr key=${time}><td>${clockTime(new Date(time * 1000))}</td>
              ${series.map((each) => html`<td class="n">${show(each.values[at])}</td>`)}</tr>`)}</tbody></table></div></details>`}
  </figure>`;
}
