#!/bin/sh
# Makes the secrets of a stack that has none yet, each into the folder of who may read it; what is there stays as it is.
# `key` prints the API key of the walk-through.
set -eu
umask 022

if [ "${1:-}" = key ]; then
  cat /secrets/operator/api_key
  exit
fi

# Written aside and renamed: a setup that is stopped half way leaves no half of a secret. Nothing is no secret.
put() {
  cat > "$1.draft"
  [ -s "$1.draft" ]
  mv "$1.draft" "$1"
}

cd /secrets
if [ ! -e gateway/complete ]; then
  redis_password=$(openssl rand -hex 32)
  printf 'requirepass %s\n' "$redis_password" | put redis/redis_auth
  printf '%s\n' "$redis_password" | put redis/redis_password
  printf 'redis://:%s@redis:6379\n' "$redis_password" | put gateway/redis_url

  openssl rand -hex 32 | tee sandbox/app_id.draft | put gateway/healthtap_app_id
  openssl rand -hex 32 | tee sandbox/app_secret.draft | put gateway/healthtap_app_secret
  mv sandbox/app_id.draft sandbox/app_id
  mv sandbox/app_secret.draft sandbox/app_secret

  healthtap-gateway keygen | put gateway/encryption_keys
  healthtap-gateway keygen --audit | put gateway/audit_key
  caller=$(healthtap-gateway caller walk-through --permission '*')
  printf '%s\n' "$caller" | sed -n 's/^API key.*: *//p' | put operator/api_key
  printf '%s\n' "$caller" | sed -n 's/^Entry for CALLERS: *\(.*\)$/[\1]/p' | put gateway/callers

  # The provider is spoken to by TLS alone, so the stand-in has a certificate, and the gateway trusts just this one.
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=sandbox \
    -addext subjectAltName=DNS:sandbox -addext basicConstraints=critical,CA:FALSE \
    -keyout sandbox/tls_key.draft -out gateway/sandbox_ca.draft 2> /dev/null
  cp gateway/sandbox_ca.draft sandbox/tls_cert
  mv sandbox/tls_key.draft sandbox/tls_key
  mv gateway/sandbox_ca.draft gateway/sandbox_ca

  chmod 0400 gateway/* operator/* sandbox/*
  : > gateway/complete
  echo 'The secrets of this stack were made.'
fi
echo 'The API key: docker compose run --rm setup key'
