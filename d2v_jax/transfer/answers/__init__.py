"""What models with a head answer: scores, transcripts, records of both."""
