/* Uses Vulkan wrongly, in two ways that a driver lets pass: a copy reads what a fill has written with no barrier
 * between, and another copy reads past the end of its buffer. scripts/gpu-checks runs it first under the validation
 * layers, and layers that do not name both faults have nothing to say about the tests either. Nothing is submitted. */

#include <stdio.h>
#include <stdlib.h>
#include <vulkan/vulkan.h>

#define BYTES 256

static void must(VkResult result, const char *what) {
    if (result == VK_SUCCESS || result == VK_INCOMPLETE) return;
    fprintf(stderr, "hazard: %s gave %d\n", what, result);
    exit(1);
}

static VkBuffer buffer_with_memory(VkDevice device) {
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = BYTES,
        .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkBuffer buffer;
    must(vkCreateBuffer(device, &info, NULL, &buffer), "vkCreateBuffer");
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device, buffer, &needs);
    uint32_t type = 0;
    while (!(needs.memoryTypeBits >> type & 1)) type++;
    VkMemoryAllocateInfo allocation = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = type,
    };
    VkDeviceMemory memory;
    must(vkAllocateMemory(device, &allocation, NULL, &memory), "vkAllocateMemory");
    must(vkBindBufferMemory(device, buffer, memory, 0), "vkBindBufferMemory");
    return buffer;
}

int main(void) {
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .apiVersion = VK_API_VERSION_1_1,
    };
    VkInstanceCreateInfo instance_info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &application,
    };
    VkInstance instance;
    must(vkCreateInstance(&instance_info, NULL, &instance), "vkCreateInstance");
    uint32_t count = 1;
    VkPhysicalDevice adapter = VK_NULL_HANDLE;
    must(vkEnumeratePhysicalDevices(instance, &count, &adapter), "vkEnumeratePhysicalDevices");
    if (!count) must(VK_ERROR_INITIALIZATION_FAILED, "vkEnumeratePhysicalDevices without a device");
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo device_info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
    };
    VkDevice device;
    must(vkCreateDevice(adapter, &device_info, NULL, &device), "vkCreateDevice");
    VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
    VkCommandPool pool;
    must(vkCreateCommandPool(device, &pool_info, NULL, &pool), "vkCreateCommandPool");
    VkCommandBufferAllocateInfo commands_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = pool,
        .commandBufferCount = 1,
    };
    VkCommandBuffer commands;
    must(vkAllocateCommandBuffers(device, &commands_info, &commands), "vkAllocateCommandBuffers");

    VkBuffer from = buffer_with_memory(device), to = buffer_with_memory(device);
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    must(vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
    vkCmdFillBuffer(commands, from, 0, BYTES, 1);
    VkBufferCopy whole = {.size = BYTES}, too_long = {.size = 2 * BYTES};
    vkCmdCopyBuffer(commands, from, to, 1, &whole);
    vkCmdCopyBuffer(commands, to, from, 1, &too_long);
    vkEndCommandBuffer(commands);
    printf("hazard: recorded\n");
    return 0;
}
