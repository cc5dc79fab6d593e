# The AWS SDK for Ruby, version 1: a loop that goes on after errors. `work` runs it, `send WORD [DELAY_S]` sends.
require "aws-sdk-v1"
require "uri"

NOTES = ENV.fetch("WORKER_NOTES")

# The task of all workers, as tests/clients/libraries/task.py has it.
def perform(word)
  File.write(NOTES, "begins #{word}\n", mode: "a")
  first = File.readlines(NOTES, chomp: true).count("begins #{word}") == 1
  raise word if word.start_with?("bad") || (word.start_with?("once") && first)

  sleep 3600 if word.start_with?("slow") && first
  File.write(NOTES, "ends #{word}\n", mode: "a")
end

address = URI(ENV.fetch("AWS_ENDPOINT_URL_SQS"))
sqs = AWS::SQS.new(
  access_key_id: "any", secret_access_key: "any", use_ssl: false, sqs_endpoint: address.host, sqs_port: address.port,
  sqs_region: "us-east-1"
)
queue = sqs.queues.named("work")
if ARGV[0] == "send"
  queue.send_message(ARGV[1], delay_seconds: ARGV.fetch(2, 0).to_i)
else
  loop do
    message = queue.receive_message(wait_time_seconds: 1)
    next if message.nil?

    perform(message.body)
    message.delete
  rescue StandardError
    sleep 0.2
  end
end
