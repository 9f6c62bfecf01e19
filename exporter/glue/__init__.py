"""All calls to AWS: requests out, typed pages and named errors in."""
