<?php
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
