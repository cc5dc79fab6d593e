// The type of uplot.js for `make lint`. It is no file of uPlot.

declare const uPlot: any;
export default uPlot;
