terraform {
  required_version = "~> 1.11" # since 1.11, S3 itself locks the state, without DynamoDB

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.69"
    }
  }

  # `terraform init` sets the bucket (see README.md): it must exist before, and its name is globally unique.
  backend "s3" {
    key          = "ontime/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  # Rejects the credentials of another account, before anything is read.
  allowed_account_ids = [var.account_id]

  # Tags on all resources, to allocate costs and to find leftovers.
  default_tags {
    tags = {
      project    = var.name
      managed_by = "terraform"
    }
  }
}
