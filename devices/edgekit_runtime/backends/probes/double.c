/* Twice of each number: the probe of compiled code. For each machine, with the compiler of Debian bookworm (gcc 12.2):
   MACHINE-linux-gnu-gcc -std=c99 -Os -shared -fPIC -nostdlib -s -fno-asynchronous-unwind-tables
       -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--hash-style=sysv -o double-MACHINE.so double.c */
#include <stddef.h>

extern const char edgekit_description[];
int edgekit_run(int answer, const void *rows, size_t count, void *out);

const char edgekit_description[] =
    "{\"abi\": 1, \"input\": {\"name\": \"x\", \"dtype\": \"float32\", \"width\": 4}, "
    "\"answers\": [{\"name\": \"double\", \"dtype\": \"float32\", \"width\": 4, \"parts\": [[\"y\", 4]]}]}";

int edgekit_run(int answer, const void *rows, size_t count, void *out)
{
    const float *x = (const float *)rows;
    float *y = (float *)out;
    size_t i;
    if (answer != 0)
        return 1;
    for (i = 0; i < 4 * count; i++)
        y[i] = 2 * x[i];
    return 0;
}
