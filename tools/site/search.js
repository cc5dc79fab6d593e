// Questions in whole sentences: the theme searches each word of a query as the beginning of words, also words that say
// nothing. So "do" finds Docker, and "a" Airflow. This script removes such words from what the theme asks its worker.

const EMPTY = new Set(
  (
    "a about after all also am an and any are as at be because been but by can cannot could did do does for from get had " +
    "has have how i if in into is it its just may me mean means might most must my no nor not of off on or our own " +
    "should so some than that the their them then there these they this to too us was we were what when where which " +
    "while who whom why will with would yet you your"
  ).split(" "),
);

/** Type of the messages that ask the worker of the theme. */
const QUERY = 2;

/** @param {string} query */
function withoutEmptyWords(query) {
  const left = query.split(/\s+/).filter((word) => !EMPTY.has(word.toLowerCase().replace(/[?.,!]+$/, "")));
  return left.length ? left.join(" ") : query;
}

if (typeof Worker !== "undefined") {
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (/** @type {any} */ message, /** @type {any[]} */ ...rest) {
    const asks = message?.type === QUERY && typeof message.data === "string";
    return post.call(this, asks ? { ...message, data: withoutEmptyWords(message.data) } : message, ...rest);
  };
}
