output "balancer" {
  description = "The target of the service's host name (a CNAME, or an alias in Route 53)"
  value       = aws_lb.main.dns_name
}

output "buckets" {
  description = "The four buckets"
  value       = local.bucket
}

output "repositories" {
  description = "The repositories for the images"
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "github_role" {
  description = "The role that deploy.yml assumes to copy images: the variable AWS_ROLE of the environment production"
  value       = aws_iam_role.github.arn
}

output "database" {
  description = "The database's host, and the secret with the administrator's password"
  value = {
    host   = aws_db_instance.postgres.address
    secret = one(aws_db_instance.postgres.master_user_secret[*].secret_arn)
  }
}

output "secrets" {
  description = "The two secrets that are still empty"
  value       = { for name, secret in aws_secretsmanager_secret.files : name => secret.name }
}

output "run_by_hand" {
  description = "The arguments of `aws ecs run-task` that run one of the worker's jobs now"
  value = {
    cluster         = aws_ecs_cluster.main.name
    task-definition = aws_ecs_task_definition.worker.family
    network-configuration = jsonencode({ awsvpcConfiguration = {
      subnets        = aws_subnet.public[*].id
      securityGroups = [aws_security_group.of["worker"].id]
      assignPublicIp = "ENABLED"
    } })
  }
}
