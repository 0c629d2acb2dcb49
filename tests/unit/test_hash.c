/* Digests and checksums against published values: FIPS 180, RFC 4231, RFC 3720, zlib's manual. */
#include <string.h>

#include "codec/hash.h"
#include "codec/text.h"
#include "harness.h"

static void assert_hex_of(struct span hash, const char *want)
{
    CLEANUP(buf_clear) struct buf hex;
    buf_init(&hex, 2 * hash.len);
    text_add_hex(&hex, hash);
    assert_string_equal(buf_cstr(&hex), want);
}

static void assert_hex(const uint8_t hash[HASH_SHA256_SIZE], const char *want)
{
    assert_hex_of(span_of(hash, HASH_SHA256_SIZE), want);
}

static void test_sha256(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        const char *want;
    } cases[] = {
        {SPAN_NONE, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {SPAN("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t hash[HASH_SHA256_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hash_sha256(cases[i].text, hash);
        assert_hex(hash, cases[i].want);
    }
}

static void test_sha256_in_pieces(void **state)
{
    (void)state;
    char thousand[1000];
    memset(thousand, 'a', sizeof(thousand));
    struct hash_sha256 *sum = hash_sha256_begin();
    for (int i = 0; i < 1000; i++) {
        hash_sha256_add(sum, span_of(thousand, sizeof(thousand)));
        hash_sha256_add(sum, SPAN_NONE);
    }
    uint8_t hash[HASH_SHA256_SIZE];
    hash_sha256_end(sum, hash);
    assert_hex(hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    hash_sha256_end(hash_sha256_begin(), NULL);
}

static void test_sha1(void **state)
{
    (void)state;
    uint8_t hash[HASH_SHA1_SIZE];
    hash_sha1(SPAN("abc"), hash);
    assert_hex_of(span_of(hash, sizeof(hash)), "a9993e364706816aba3e25717850c26c9cd0d89d");
    hash_sha1(SPAN_NONE, hash);
    assert_hex_of(span_of(hash, sizeof(hash)), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void test_hmac_sha256(void **state)
{
    (void)state;
    uint8_t hash[HASH_SHA256_SIZE];
    char long_key[131];
    memset(long_key, 0xaa, sizeof(long_key));
    hash_hmac_sha256(SPAN("Jefe"), SPAN("what do ya want for nothing?"), hash);
    assert_hex(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hash_hmac_sha256(span_of(long_key, sizeof(long_key)),
                     SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), hash);
    assert_hex(hash, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hash_hmac_sha256(SPAN_NONE, SPAN_NONE, hash);
    assert_hex(hash, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_crc32(void **state)
{
    (void)state;
    static const char zeros[32];
    assert_int_equal(hash_crc32(0, SPAN_NONE), 0);
    assert_int_equal(hash_crc32(0, SPAN("123456789")), 0xcbf43926);
    assert_int_equal(hash_crc32c(0, SPAN("123456789")), 0xe3069283);
    assert_int_equal(hash_crc32c(0, span_of(zeros, sizeof(zeros))), 0x8a9136aa);
    assert_int_equal(hash_crc32(hash_crc32(0, SPAN("1234")), SPAN("56789")), 0xcbf43926);
    assert_int_equal(hash_crc32c(hash_crc32c(0, SPAN("1")), SPAN("23456789")), 0xe3069283);
    for (size_t len = 0; len < 40; len++) {
        struct span text = span_first(SPAN("words of eight bytes, and what is left over"), len);
        uint32_t crc = 0;
        for (size_t i = 0; i < len; i++) {
            crc = hash_crc32c(crc, span_of(text.at + i, 1));
        }
        assert_int_equal(hash_crc32c(0, text), crc);
    }
}

static void test_random_bytes_differ(void **state)
{
    (void)state;
    uint8_t first[32] = {0}, second[32] = {0};
    hash_random(first, sizeof(first));
    hash_random(second, sizeof(second));
    assert_memory_not_equal(first, second, sizeof(first));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_sha256), cmocka_unit_test(test_sha256_in_pieces),
    cmocka_unit_test(test_sha1),   cmocka_unit_test(test_hmac_sha256),
    cmocka_unit_test(test_crc32),  cmocka_unit_test(test_random_bytes_differ),
};

HARNESS_MAIN(tests)
