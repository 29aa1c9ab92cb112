# Permissions, read from the policies as IAM would receive them. Applied to the mock, so that every ARN is known.

mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/data" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:of" }
  }

  mock_resource "aws_ecr_repository" {
    defaults = { arn = "arn:aws:ecr:us-east-1:123456789012:repository/image" }
  }

  override_resource {
    target = aws_s3_bucket.store["releases"]
    values = { arn = "arn:aws:s3:::releases" }
  }

  override_resource {
    target = aws_s3_bucket.store["dvc"]
    values = { arn = "arn:aws:s3:::dvc" }
  }

  override_resource {
    target = aws_s3_bucket.store["mlflow"]
    values = { arn = "arn:aws:s3:::mlflow" }
  }

  override_resource {
    target = aws_s3_bucket.store["backups"]
    values = { arn = "arn:aws:s3:::backups" }
  }
}

run "the_service_reads_releases_and_nothing_else" {
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.task["service"].policy).Statement :
      join(" ", statement.Action) => join(" ", statement.Resource)
      } == {
      "s3:ListBucket" = "arn:aws:s3:::releases"
      "s3:GetObject"  = "arn:aws:s3:::releases/*"
      "kms:Decrypt"   = "arn:aws:kms:us-east-1:123456789012:key/data"
    }
    error_message = "The service may do something else: ${aws_iam_role_policy.task["service"].policy}"
  }
}

run "the_worker_writes_and_deletes_nothing" {
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.task["worker"].policy).Statement : statement.Action])) == toset([
      "kms:Decrypt", "kms:GenerateDataKey", "s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
    ])
    error_message = "The worker may do something else: ${aws_iam_role_policy.task["worker"].policy}"
  }
}

run "no_policy_has_a_wildcard_but_for_logging_in_to_the_registry" {
  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.task), values(aws_iam_role_policy.start), [aws_iam_role_policy.clock, aws_iam_role_policy.github]) : [
        for statement in jsondecode(policy.policy).Statement :
        !anytrue([for action in statement.Action : strcontains(action, "*")])
        && (!contains(statement.Resource, "*") || statement.Action == ["ecr:GetAuthorizationToken"])
      ]
    ]))
    error_message = "A role may do anything, or with anything."
  }
}

run "each_task_is_started_with_its_own_secret" {
  assert {
    condition = alltrue([for who in ["service", "worker"] : [
      for statement in jsondecode(aws_iam_role_policy.start[who].policy).Statement : statement.Resource
      if contains(statement.Action, "secretsmanager:GetSecretValue")
    ] == [[aws_secretsmanager_secret.files[who].arn]]])
    error_message = "A task could be started with the other's secret."
  }
}

run "only_approved_deployments_of_one_repository_may_push_and_by_a_token_only" {
  assert {
    condition = jsondecode(aws_iam_role.github.assume_role_policy).Statement[0].Condition == { StringEquals = {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:octo@1/ontime@2:environment:production"
    } }
    error_message = "Somebody else may push: ${aws_iam_role.github.assume_role_policy}"
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.github.policy).Statement : alltrue([for action in statement.Action : startswith(action, "ecr:")])])
    error_message = "GitHub may do more than push images."
  }
}

run "the_file_system_lets_each_in_by_its_own_door" {
  assert {
    condition = [for statement in jsondecode(aws_efs_file_system_policy.state.policy).Statement :
      [statement.Principal.AWS, statement.Condition.StringEquals["elasticfilesystem:AccessPointArn"]]
    ] == [for who in ["service", "worker"] : [aws_iam_role.task[who].arn, aws_efs_access_point.state[who].arn]]
    error_message = "A folder is open to somebody else."
  }
}
