/*
 * hash.h -- digests and checksums.
 *
 * Floor 1, pure. OpenSSL and zlib's checksum are in hash.c only. CRC-32 is IEEE 802.3, as event
 * streams use.
 */
#ifndef PRISM_CODEC_HASH_H
#define PRISM_CODEC_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define HASH_SHA256_SIZE 32
#define HASH_SHA1_SIZE   20

void hash_sha256(struct span data, uint8_t out[HASH_SHA256_SIZE]);
void hash_sha1(struct span data,
               uint8_t out[HASH_SHA1_SIZE]); /* a name where others chose it, never a proof */
void hash_hmac_sha256(struct span key, struct span data, uint8_t out[HASH_SHA256_SIZE]);

/* Incremental SHA-256; free with hash_sha256_end, which may be given out == NULL. */
struct hash_sha256;
struct hash_sha256 *hash_sha256_begin(void);
void hash_sha256_add(struct hash_sha256 *hash, struct span data);
void hash_sha256_end(struct hash_sha256 *hash, uint8_t *out);

/* Continue with the former result; start with 0. */
uint32_t hash_crc32(uint32_t crc, struct span data);
uint32_t hash_crc32c(uint32_t crc, struct span data); /* Castagnoli, for files of our own */

/* Unpredictable bytes from the system. */
void hash_random(void *out, size_t len);

#endif
