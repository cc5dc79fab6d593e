"""Workers for SQS, each as a user of its library would write it.

`python -m tests.clients.libraries.NAME work` runs the worker, and ``send WORD [DELAY_S]`` sends a task as another program
would. Only the variables of AWS name the broker: AWS_ENDPOINT_URL_SQS, a region and credentials.
"""
