# The variables of the tests; your terraform.tfvars needs the same. Addresses and names are reserved for documentation.
account_id        = "123456789012"
certificate_arn   = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"
callers           = ["203.0.113.0/24"]
github_repository = "octo@1/ontime@2"
alarm_email       = "desk@example.org"
image_digests = {
  serve  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
  mirror = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
  worker = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
}
