/* Counts instructions of a model on an emulated Cortex-M and tells its answers: see emulate.py, which writes case.h. */
#include "case.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* CMSDK timer 0 of the MPS2 boards counts down at 25 MHz; one instruction takes one nanosecond of emulated time. */
#define TIMER ((volatile uint32_t *)0x40000000u)
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
enum { WRITE0 = 4, EXIT = 0x18, STOPPED = 0x20026 };

extern unsigned char top;
void reset(void);

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void print(const char *text)
{
    semihosting(WRITE0, text);
}

static void print_word(uint32_t value)
{
    char text[10];
    int i;
    for (i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15u];
    text[8] = '\n';
    text[9] = '\0';
    print(text);
}

static void __attribute__((noinline)) call(ROW row, RESULT *out)
{
    CALL;
}

static void __attribute__((noinline)) call_nothing(ROW row, RESULT *out)
{
    (void)row;
    __asm__ volatile("" : : "r"(out) : "memory");
}

static uint32_t ticks(void (*function)(ROW, RESULT *), RESULT *out)
{
    uint32_t before;
    int i, k;
    TIMER[0] = 0;
    TIMER[2] = 0xFFFFFFFFu;
    TIMER[1] = 0xFFFFFFFFu;
    TIMER[0] = 1;
    before = TIMER[1];
    for (k = 0; k < REPEATS; k++)
        for (i = 0; i < ROWS; i++)
            function(row_at(i), out);
    return before - TIMER[1];
}

static void run(void)
{
    static RESULT out[WIDTH];
    int i, k;
    print_word(ticks(call, out));
    print_word(ticks(call_nothing, out));
    for (i = 0; i < ROWS; i++) {
        call(row_at(i), out);
        for (k = 0; k < WIDTH; k++) {
            uint32_t words[2] = {0, 0};
            memcpy(words, &out[k], sizeof out[k]);
            print_word(words[0]);
            print_word(words[1]);
        }
    }
    print("end\n");
    semihosting(EXIT, (const void *)STOPPED);
}

void reset(void)
{
#if defined(__ARM_FP)
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb");
#endif
    run();
    for (;;)
        ;
}

struct vectors {
    void *stack;
    void (*reset)(void);
};
__attribute__((section(".vectors"), used)) static const struct vectors vectors = {&top, reset};
