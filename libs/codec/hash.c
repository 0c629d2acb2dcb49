#include "codec/hash.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#include "base/check.h"

/* OpenSSL fails here only when it has no memory or lacks SHA-256: neither is survivable. */

void hash_sha256(struct span data, uint8_t out[HASH_SHA256_SIZE])
{
    check(EVP_Digest(data.at, data.len, out, NULL, EVP_sha256(), NULL) == 1);
}

void hash_sha1(struct span data, uint8_t out[HASH_SHA1_SIZE])
{
    check(EVP_Digest(data.at, data.len, out, NULL, EVP_sha1(), NULL) == 1);
}

void hash_hmac_sha256(struct span key, struct span data, uint8_t out[HASH_SHA256_SIZE])
{
    check(key.len <= INT_MAX);
    /* A NULL key means "the key of before" to OpenSSL, and data must point somewhere. */
    const char *key_at = key.len > 0 ? key.at : "";
    const char *data_at = data.len > 0 ? data.at : "";
    check(HMAC(EVP_sha256(), key_at, (int)key.len, (const uint8_t *)data_at, data.len, out, NULL) !=
          NULL);
}

/* Never defined: a struct hash_sha256 is OpenSSL's context under a name of ours. */
static EVP_MD_CTX *context(struct hash_sha256 *hash)
{
    return (EVP_MD_CTX *)hash;
}

struct hash_sha256 *hash_sha256_begin(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    check(ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1);
    return (struct hash_sha256 *)ctx;
}

void hash_sha256_add(struct hash_sha256 *hash, struct span data)
{
    check(EVP_DigestUpdate(context(hash), data.at, data.len) == 1);
}

void hash_sha256_end(struct hash_sha256 *hash, uint8_t *out)
{
    if (out != NULL) {
        check(EVP_DigestFinal_ex(context(hash), out, NULL) == 1);
    }
    EVP_MD_CTX_free(context(hash));
}

/* What four bits do to a reflected CRC-32C: sixteen numbers that stay in a cache line. */
static const uint32_t castagnoli[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t hash_crc32(uint32_t before, struct span data)
{
    const char *at = data.len > 0 ? data.at : ""; /* NULL means "the first value" to zlib */
    return (uint32_t)crc32_z(before, (const uint8_t *)at, data.len);
}

#ifdef __x86_64__
/* Castagnoli's is the one that processors compute by themselves. */
__attribute__((target("sse4.2"))) static uint32_t crc32c_by_machine(uint32_t before,
                                                                    struct span data)
{
    uint64_t state = ~before;
    for (; data.len >= sizeof(uint64_t); data = span_from(data, sizeof(uint64_t))) {
        uint64_t word;
        memcpy(&word, data.at, sizeof(word));
        state = __builtin_ia32_crc32di(state, word);
    }
    for (size_t i = 0; i < data.len; i++) {
        state = __builtin_ia32_crc32qi((uint32_t)state, (uint8_t)data.at[i]);
    }
    return ~(uint32_t)state;
}
#endif

uint32_t hash_crc32c(uint32_t before, struct span data)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return crc32c_by_machine(before, data);
    }
#endif
    uint32_t state = ~before;
    for (size_t i = 0; i < data.len; i++) {
        state ^= (uint8_t)data.at[i];
        state = state >> 4 ^ castagnoli[state & 15];
        state = state >> 4 ^ castagnoli[state & 15];
    }
    return ~state;
}

void hash_random(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0) {
            check(errno == EINTR);
            continue;
        }
        at += got;
        len -= (size_t)got;
    }
}
