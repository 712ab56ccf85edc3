/* The floor under every look-up: mdb_get in a loop, over keys given in a file.
 *
 *   look_up INDEX_DIRECTORY KEYS seconds
 *
 * KEYS holds keys, each behind its length (u8). They are looked up in order, again and again, a thousand in
 * one read transaction; the first time each of them is not timed. Prints one JSON object. Exits 1 with a sentence when a key is not found.
 */
#include <errno.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(int code, const char *doing) {
    if (code) {
        fprintf(stderr, "look_up: %s: %s\n", doing, mdb_strerror(code));
        exit(1);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val *keys, value;
    size_t count = 0, room = 1 << 20, done = 0, at = 0;
    uint64_t sum = 0;
    if (argc != 4) {
        fprintf(stderr, "look_up: arguments are INDEX_DIRECTORY KEYS seconds\n");
        return 1;
    }
    FILE *file = fopen(argv[2], "rb");
    int size;
    keys = malloc(room * sizeof *keys);
    while (file && (size = fgetc(file)) != EOF) {
        if (count == room) keys = realloc(keys, (room *= 2) * sizeof *keys);
        keys[count].mv_size = size;
        keys[count].mv_data = malloc(size);
        if (fread(keys[count++].mv_data, 1, size, file) != (size_t)size) check(EINVAL, "reading keys");
    }
    if (!count) check(EINVAL, "reading keys");
    check(mdb_env_create(&env), "creating");
    check(mdb_env_set_mapsize(env, (size_t)256 << 30), "sizing");
    check(mdb_env_open(env, argv[1], MDB_RDONLY | MDB_NOLOCK | MDB_NORDAHEAD, 0600), "opening");
    check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "beginning");
    check(mdb_dbi_open(txn, NULL, 0, &dbi), "opening the database");
    for (size_t i = 0; i < count; i++) check(mdb_get(txn, dbi, &keys[i], &value), "looking up a key");
    double start = now(), end = start + atof(argv[3]);
    while (now() < end) {
        for (int i = 0; i < 1000; i++) {
            check(mdb_get(txn, dbi, &keys[at], &value), "looking up a key");
            sum += ((uint8_t *)value.mv_data)[value.mv_size - 1];
            at = at + 1 == count ? 0 : at + 1;
        }
        done += 1000;
        mdb_txn_reset(txn);
        check(mdb_txn_renew(txn), "renewing");
    }
    printf("{\"looked_up\": %zu, \"seconds\": %.6f, \"sum\": %llu}\n", done, now() - start, (unsigned long long)sum);
    return 0;
}
