<?php
// AsyncAws, on which Symfony Messenger is built: a loop that goes on after errors. `work` runs it, `send WORD [DELAY_S]` sends.
require 'AsyncAws/Sqs/autoload.php';
require __DIR__ . '/task.php';

use AsyncAws\Core\Exception\Exception as AwsException;
use AsyncAws\Sqs\SqsClient;

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
