"""The protocol of Amazon SQS over the same broker, so that its clients work by changing one address.

A translation: requests in either of its two wire formats become calls of `wonderq.broker.broker.Broker`, and what they return
becomes answers. What SQS knows and the broker does not, such as its limits, is decided here.

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/ and the service model that AWS publishes
with botocore, which the tests compare this with.
"""
