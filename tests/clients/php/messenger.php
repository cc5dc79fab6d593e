<?php
// Symfony Messenger with its transport for SQS: a worker that tries failed messages again, and gives them up to `dead`.
require 'Symfony/Component/Messenger/autoload.php';
require 'Symfony/Component/Messenger/Bridge/AmazonSqs/autoload.php';
require 'Symfony/Component/EventDispatcher/autoload.php';
require __DIR__ . '/task.php';

use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\Messenger\Bridge\AmazonSqs\Transport\AmazonSqsTransportFactory;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\EventListener\SendFailedMessageForRetryListener;
use Symfony\Component\Messenger\EventListener\SendFailedMessageToFailureTransportListener;
use Symfony\Component\Messenger\Handler\HandlersLocator;
use Symfony\Component\Messenger\MessageBus;
use Symfony\Component\Messenger\Middleware\HandleMessageMiddleware;
use Symfony\Component\Messenger\Retry\MultiplierRetryStrategy;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Worker;

final class Task
{
    public function __construct(public string $word)
    {
    }
}

/** Finds services by name, as Symfony's container does. */
final class Services implements Psr\Container\ContainerInterface
{
    public function __construct(private array $services)
    {
    }

    public function get(string $id): mixed
    {
        return $this->services[$id];
    }

    public function has(string $id): bool
    {
        return isset($this->services[$id]);
    }
}

function transport(string $queue): object
{
    $address = str_replace('http://', '', getenv('AWS_ENDPOINT_URL_SQS'));
    $dsn = "sqs://any:any@$address/$queue?region=us-east-1&sslmode=disable";
    $options = ['wait_time' => 1, 'buffer_size' => 1];
    return (new AmazonSqsTransportFactory())->createTransport($dsn, $options, new PhpSerializer());
}

$work = transport('work');
if ($argv[1] === 'send') {
    $work->send(new Envelope(new Task($argv[2]), [new DelayStamp(1000 * (int) ($argv[3] ?? 0))]));
    exit;
}
$bus = new MessageBus([
    new HandleMessageMiddleware(new HandlersLocator([Task::class => [fn (Task $task) => perform($task->word)]])),
]);
$events = new EventDispatcher();
$strategies = new Services(['work' => new MultiplierRetryStrategy(maxRetries: 2, delayMilliseconds: 1000, multiplier: 1)]);
$events->addSubscriber(new SendFailedMessageForRetryListener(new Services(['work' => $work]), $strategies));
$events->addSubscriber(new SendFailedMessageToFailureTransportListener(new Services(['work' => transport('dead')])));
(new Worker(['work' => $work], $bus, $events))->run();
