// Snippets that send to a queue and receive from it, with the address of this broker.

import { html, useState } from "../vendor/preact.js";
import { Copy } from "../app/parts.js";

/** @param {string} queue @param {string} url @returns {Record<string, string>} */
const snippets = (queue, url) => ({
  curl: `curl -d '{"message": "hello"}' -H 'Content-Type: application/json' ${url}/queues/${queue}/messages/produce
curl '${url}/queues/${queue}/messages/consume?wait=20'
curl -X DELETE '${url}/queues/${queue}/messages/ID?receipt=RECEIPT'`,
  "Command line": `wonderq send --url ${url} --queue ${queue} 'hello'
wonderq receive --url ${url} --queue ${queue}`,
  Python: `from wonderq import Client

with Client("${url}") as client:
    queue = client.queue("${queue}")
    queue.send("hello")
    for message in queue.receive(limit=10, wait=20):
        print(message.body)
        message.delete()`,
  boto3: `import boto3

sqs = boto3.client("sqs", endpoint_url="${url}", region_name="us-east-1",
                   aws_access_key_id="any", aws_secret_access_key="any")
url = sqs.get_queue_url(QueueName="${queue}")["QueueUrl"]
sqs.send_message(QueueUrl=url, MessageBody="hello")`,
  Celery: `app = Celery("tasks", broker="sqs://any:any@${url.replace(/^https?:\/\//, "")}")
app.conf.update(
    broker_transport_options={"region": "us-east-1", "is_secure": ${url.startsWith("https") ? "True" : "False"}},
    task_default_queue="${queue}",
)`,
});

/** @param {{queue: string}} properties */
export function Connect({ queue }) {
  const all = snippets(queue, location.origin);
  const [chosen, choose] = useState("curl");
  return html`<div class="connect"><div class="chips" role="group" aria-label="Language">${Object.keys(all).map(
      (name) => html`<button key=${name} type="button" aria-pressed=${name === chosen} onClick=${() => choose(name)}>${name}</button>`,
    )}</div>
    <div class="snippet"><pre tabindex="0">${all[chosen]}</pre><${Copy} text=${all[chosen]} label=${`Copy the example for ${chosen}`} /></div></div>`;
}
