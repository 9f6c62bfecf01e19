"""`iam-policy`: the least-privilege IAM policy of a configuration, and the trust policy of a role, in three formats."""
