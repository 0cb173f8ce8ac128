// The Prometheus text as numbers.

export class Metrics {
  constructor(text) {
    this.series = text
      .split('\n')
      .filter((line) => line.startsWith('batch_retry_proxy_'))
      .map((line) => {
        const [, name, labels, value] = /^batch_retry_proxy_(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
        const pairs = [...(labels || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
        return { name, labels: Object.fromEntries(pairs.map(([, key, text]) => [key, text])), value: Number(value) };
      });
  }

  /** What the series of a family with these labels add up to. A label's wanted value may be a list of values. */
  sum(name, wanted = {}) {
    const fits = (labels) => Object.entries(wanted).every(([key, value]) => [value].flat().includes(labels[key]));
    const found = this.series.filter((series) => series.name === name && fits(series.labels));
    return found.reduce((total, series) => total + series.value, 0);
  }

  /** The values of a label in a family. */
  values(name, label) {
    return [...new Set(this.series.filter((series) => series.name === name).map((series) => series.labels[label]))];
  }
}
