<?php
// AsyncAws, on which Symfony Messenger is built: a loop that goes on after errors. `work` runs it, `send WORD [DELAY_S]` sends.
require 'AsyncAws/Sqs/autoload.php';

use AsyncAws\Core\Exception\Exception as AwsException;
use AsyncAws\Sqs\SqsClient;

/** The task of all workers, as tests/clients/libraries/task.py has it. */
function perform(string $word): void
{
    $notes = getenv('WORKER_NOTES');
    file_put_contents($notes, "begins $word\n", FILE_APPEND);
    $first = substr_count(file_get_contents($notes), "begins $word\n") === 1;
    if (str_starts_with($word, 'bad') || (str_starts_with($word, 'once') && $first)) {
        throw new RuntimeException($word);
    }
    if (str_starts_with($word, 'slow') && $first) {
        sleep(3600);
    }
    file_put_contents($notes, "ends $word\n", FILE_APPEND);
}

$sqs = new SqsClient([
    'endpoint' => getenv('AWS_ENDPOINT_URL_SQS'),
    'region' => 'us-east-1',
    'accessKeyId' => 'any',
    'accessKeySecret' => 'any',
]);
$url = $sqs->getQueueUrl(['QueueName' => 'work'])->getQueueUrl();
if ($argv[1] === 'send') {
    $sqs->sendMessage(['QueueUrl' => $url, 'MessageBody' => $argv[2], 'DelaySeconds' => (int) ($argv[3] ?? 0)])->resolve();
    exit;
}
while (true) {
    try {
        foreach ($sqs->receiveMessage(['QueueUrl' => $url, 'WaitTimeSeconds' => 1])->getMessages() as $message) {
            perform($message->getBody());
            $sqs->deleteMessage(['QueueUrl' => $url, 'ReceiptHandle' => $message->getReceiptHandle()])->resolve();
        }
    } catch (AwsException | RuntimeException) {
        usleep(200_000);
    }
}
