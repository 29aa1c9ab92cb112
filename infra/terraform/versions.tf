terraform {
  required_version = "~> 1.11" # since 1.11 the state is locked in S3 itself: no table in DynamoDB

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.69"
    }
  }

  # The bucket is named at `terraform init` (see README.md): it has to exist before, and its name is yours alone.
  backend "s3" {
    key          = "ontime/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  # Another account's credentials in the shell are the most expensive mistake there is: refused before anything is read.
  allowed_account_ids = [var.account_id]

  # Written on everything, so that the bill can be split and strays be found.
  default_tags {
    tags = {
      project    = var.name
      managed_by = "terraform"
    }
  }
}
