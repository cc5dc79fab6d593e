"""The protocol of Amazon SNS, so that SNS clients work with WonderQ after a change of their endpoint URL.

The package translates requests of the query protocol to calls of `wonderq.broker.topics.Topics`, and results to
responses. It shares forms, signatures and message attributes with `wonderq.sqs`.

Sources: https://docs.aws.amazon.com/sns/latest/api/ and the service model that AWS publishes with botocore; tests
compare the package with that model.
"""
