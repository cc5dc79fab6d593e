// The AWS SDK for Go, version 2: a loop that goes on after errors. `worker work` runs it, `worker send WORD [DELAY_S]` sends.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// do is the task of all workers, as tests/clients/libraries/task.py has it.
func do(word string) error {
	notes := os.Getenv("WORKER_NOTES")
	note(notes, "begins "+word)
	text, _ := os.ReadFile(notes)
	first := strings.Count(string(text), "begins "+word+"\n") == 1
	if strings.HasPrefix(word, "bad") || strings.HasPrefix(word, "once") && first {
		return errors.New(word)
	}
	if strings.HasPrefix(word, "slow") && first {
		time.Sleep(time.Hour)
	}
	note(notes, "ends "+word)
	return nil
}

func note(path, line string) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	check(err)
	_, err = fmt.Fprintln(file, line)
	check(err)
	check(file.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func poll(client *sqs.Client, url *string) error {
	answer, err := client.ReceiveMessage(context.TODO(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 1})
	if err != nil {
		return err
	}
	for _, message := range answer.Messages {
		if do(*message.Body) == nil {
			_, err = client.DeleteMessage(context.TODO(),
				&sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: message.ReceiptHandle})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func main() {
	client := sqs.New(sqs.Options{
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("any", "any", ""),
		EndpointResolver: sqs.EndpointResolverFromURL(os.Getenv("AWS_ENDPOINT_URL_SQS")),
	})
	found, err := client.GetQueueUrl(context.TODO(), &sqs.GetQueueUrlInput{QueueName: aws.String("work")})
	check(err)
	if os.Args[1] == "send" {
		delay := 0
		if len(os.Args) > 3 {
			delay, err = strconv.Atoi(os.Args[3])
			check(err)
		}
		_, err = client.SendMessage(context.TODO(), &sqs.SendMessageInput{
			QueueUrl: found.QueueUrl, MessageBody: &os.Args[2], DelaySeconds: int32(delay)})
		check(err)
		return
	}
	for {
		if poll(client, found.QueueUrl) != nil {
			time.Sleep(200 * time.Millisecond)
		}
	}
}
