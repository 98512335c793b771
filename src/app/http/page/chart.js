// Accuracy and forgetting over versions, drawn by uPlot.

/** Points of the curve, from versions in the order of time: mean accuracy, and mean fall of each class from its best. */
export function points(versions) {
  const best = new Map(), x = [], accuracy = [], forgetting = [];
  for (const version of versions.filter(v => v.status !== 'rolled_back')) {
    const after = version.classes.filter(c => c.after !== null);
    if (!after.length) continue;
    const falls = after.filter(c => best.has(c.class)).map(c => Math.max(0, best.get(c.class) - c.after));
    after.forEach(c => best.set(c.class, Math.max(best.get(c.class) ?? 0, c.after)));
    const mean = values => values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
    x.push(x.length + 1);
    accuracy.push(100 * mean(after.map(c => c.after)));
    forgetting.push(100 * mean(falls));
  }
  return [x, accuracy, forgetting];
}

let chart = null;

/** Draws the curve into `place`, in the colours of the page. */
export function draw(place, data) {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour('--soft'), grid: { stroke: colour('--rule'), width: 1 }, ticks: { show: false }, font: '12px system-ui' };
  const line = (label, name) => ({ label, stroke: colour(name), width: 2.5, points: { show: true, size: 7, fill: colour('--card') } });
  const options = {
    width: Math.max(place.clientWidth, 200), height: 190, legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: (_, low, high) => [Math.min(low, 1) - .3, Math.max(high, 2) + .3] }, y: { range: [-3, 103] } },
    axes: [
      { ...axis, size: 30, splits: (_, __, low, high) => whole(Math.max(1, Math.ceil(low)), Math.floor(high)), values: (_, all) => all.map(String) },
      { ...axis, size: 46, splits: () => [0, 25, 50, 75, 100], values: (_, all) => all.map(v => `${v} %`) },
    ],
    series: [{}, line('accuracy', '--c0'), line('forgetting', '--c1')],
  };
  chart?.destroy();
  chart = new uPlot(options, data, place);
}

/** At most a dozen whole numbers from `low` to `high`. */
function whole(low, high) {
  const stride = Math.max(1, Math.ceil((high - low) / 11));
  return Array.from({ length: Math.floor((high - low) / stride) + 1 }, (_, i) => low + i * stride);
}
