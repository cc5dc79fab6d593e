"""The protocol of Amazon SQS, so that SQS clients work with WonderQ after a change of their endpoint URL.

The package translates requests in both wire formats to calls of `wonderq.broker.broker.Broker`, and results to
responses. It decides only about features that SQS has and the broker lacks, such as the limits of SQS.

Sources: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/ and the service model that AWS publishes
with botocore; tests compare the package with that model.
"""
