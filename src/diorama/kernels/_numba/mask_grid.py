"""numba back end of `diorama.kernels.mask_grid`."""

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def splat(first, end, labels, image, spacing, left, top, slot_label, coverage, mean):
    height, width = labels.shape
    num_columns = slot_label.shape[1]
    capacity = slot_label.shape[2]
    for j in range(first, end):
        node_y = top + j * spacing
        y_begin = max(0, math.floor(node_y - spacing + 0.5))
        y_end = min(height, math.ceil(node_y + spacing - 0.5))
        for i in range(num_columns):
            node_x = left + i * spacing
            x_begin = max(0, math.floor(node_x - spacing + 0.5))
            x_end = min(width, math.ceil(node_x + spacing - 0.5))
            for k in range(capacity):
                slot_label[j, i, k] = -1
                coverage[j, i, k] = 0.0
                mean[j, i, k] = 0.0
            num = 0
            slot = 0
            total = 0.0
            for y in range(y_begin, y_end):
                weight_y = 1.0 - abs(y + 0.5 - node_y) / spacing
                x = x_begin
                while x < x_end:
                    # A run of one label is summed in registers before its slot is looked up.
                    label = labels[y, x]
                    run_weight = 0.0
                    run_value = 0.0
                    while x < x_end and labels[y, x] == label:
                        weight = weight_y * (1.0 - abs(x + 0.5 - node_x) / spacing)
                        run_weight += weight
                        run_value += weight * image[y, x]
                        x += 1
                    if run_weight <= 0.0:
                        continue
                    if num == 0 or slot_label[j, i, slot] != label:
                        slot = 0
                        while slot < num and slot_label[j, i, slot] != label:
                            slot += 1
                        if slot == num:
                            if num == capacity:
                                slot = 0
                                continue
                            slot_label[j, i, slot] = label
                            num += 1
                    total += run_weight
                    coverage[j, i, slot] += run_weight
                    mean[j, i, slot] += run_value
            for k in range(num):
                if coverage[j, i, k] > 0:
                    mean[j, i, k] /= coverage[j, i, k]
                coverage[j, i, k] /= total


@njit(nogil=True, cache=True)
def connect(slot_label, coverage, offset, right, down, right_share, down_share, pairs):
    num_rows, num_columns, _ = slot_label.shape
    num_pairs = 0
    for j in range(num_rows):
        for i in range(num_columns):
            node = j * num_columns + i
            for k in range(offset[node + 1] - offset[node]):
                vertex = offset[node] + k
                label = slot_label[j, i, k]
                right[vertex] = -1
                down[vertex] = -1
                right_share[vertex] = 0.0
                down_share[vertex] = 0.0
                if i + 1 < num_columns:
                    for q in range(offset[node + 2] - offset[node + 1]):
                        if slot_label[j, i + 1, q] == label:
                            right[vertex] = offset[node + 1] + q
                            share = coverage[j, i, k] * coverage[j, i + 1, q]
                            right_share[vertex] = math.sqrt(share)
                if j + 1 < num_rows:
                    below = node + num_columns
                    for q in range(offset[below + 1] - offset[below]):
                        if slot_label[j + 1, i, q] == label:
                            down[vertex] = offset[below] + q
                            share = coverage[j, i, k] * coverage[j + 1, i, q]
                            down_share[vertex] = math.sqrt(share)
                for q in range(k):
                    pairs[num_pairs, 0] = vertex
                    pairs[num_pairs, 1] = offset[node] + q
                    num_pairs += 1


@njit(nogil=True, cache=True)
def _blur(image, scratch, passes, weight):
    num_rows, num_columns = image.shape
    for _ in range(passes):
        for j in range(num_rows):
            for i in range(num_columns):
                center = image[j, i]
                value = center
                if i > 0:
                    value += weight * (image[j, i - 1] - center)
                if i + 1 < num_columns:
                    value += weight * (image[j, i + 1] - center)
                scratch[j, i] = value
        for j in range(num_rows):
            for i in range(num_columns):
                center = scratch[j, i]
                value = center
                if j > 0:
                    value += weight * (scratch[j - 1, i] - center)
                if j + 1 < num_rows:
                    value += weight * (scratch[j + 1, i] - center)
                image[j, i] = value


@njit(nogil=True, cache=True)
def _gradient(
    surface,
    deviation,
    target,
    offset,
    coverage,
    trust,
    right,
    down,
    right_weight,
    down_weight,
    pairs,
    pair_weight,
    passes,
    blur_weight,
    image,
    scratch,
    out,
):
    num_rows, num_columns = image.shape
    for j in range(num_rows):
        for i in range(num_columns):
            node = j * num_columns + i
            value = 0.0
            for vertex in range(offset[node], offset[node + 1]):
                value += coverage[vertex] * surface[vertex]
            image[j, i] = value
    _blur(image, scratch, passes, blur_weight)
    for j in range(num_rows):
        for i in range(num_columns):
            image[j, i] = trust[j, i] * (image[j, i] - target[j, i])
    _blur(image, scratch, passes, blur_weight)
    for j in range(num_rows):
        for i in range(num_columns):
            node = j * num_columns + i
            for vertex in range(offset[node], offset[node + 1]):
                out[vertex] = coverage[vertex] * image[j, i]
    for vertex in range(right.size):
        other = right[vertex]
        if other >= 0:
            pull = right_weight[vertex] * (deviation[vertex] - deviation[other])
            out[vertex] += pull
            out[other] -= pull
        other = down[vertex]
        if other >= 0:
            pull = down_weight[vertex] * (deviation[vertex] - deviation[other])
            out[vertex] += pull
            out[other] -= pull
    for n in range(pair_weight.size):
        a = pairs[n, 0]
        b = pairs[n, 1]
        pull = pair_weight[n] * (surface[a] - surface[b])
        out[a] += pull
        out[b] -= pull


@njit(nogil=True, cache=True)
def solve(
    surface,
    plane,
    fixed,
    target,
    offset,
    coverage,
    trust,
    right,
    down,
    right_weight,
    down_weight,
    pairs,
    pair_weight,
    passes,
    blur_weight,
    max_iterations,
    tolerance,
    fitted,
):
    num = surface.size
    image = np.empty_like(target)
    scratch = np.empty_like(target)
    nothing = np.zeros_like(target)
    product = np.empty_like(surface)
    residual = np.empty_like(surface)
    direction = np.empty_like(surface)
    scale = np.empty_like(surface)
    num_rows, num_columns = target.shape
    for j in range(num_rows):
        for i in range(num_columns):
            node = j * num_columns + i
            for vertex in range(offset[node], offset[node + 1]):
                scale[vertex] = coverage[vertex] ** 2 * trust[j, i]
    for vertex in range(num):
        if right[vertex] >= 0:
            scale[vertex] += right_weight[vertex]
            scale[right[vertex]] += right_weight[vertex]
        if down[vertex] >= 0:
            scale[vertex] += down_weight[vertex]
            scale[down[vertex]] += down_weight[vertex]
    for n in range(pair_weight.size):
        scale[pairs[n, 0]] += pair_weight[n]
        scale[pairs[n, 1]] += pair_weight[n]
    for vertex in range(num):
        # A fixed vertex is never moved: its row of the preconditioner is zero.
        scale[vertex] = 0.0 if fixed[vertex] or scale[vertex] <= 0.0 else 1.0 / scale[vertex]
        direction[vertex] = surface[vertex] - plane[vertex]
    _gradient(
        surface,
        direction,
        target,
        offset,
        coverage,
        trust,
        right,
        down,
        right_weight,
        down_weight,
        pairs,
        pair_weight,
        passes,
        blur_weight,
        image,
        scratch,
        product,
    )
    energy = 0.0
    for vertex in range(num):
        residual[vertex] = -product[vertex]
        direction[vertex] = scale[vertex] * residual[vertex]
        energy += residual[vertex] * direction[vertex]
    first = energy
    iterations = 0
    while iterations < max_iterations and energy > tolerance * tolerance * first:
        _gradient(
            direction,
            direction,
            nothing,
            offset,
            coverage,
            trust,
            right,
            down,
            right_weight,
            down_weight,
            pairs,
            pair_weight,
            passes,
            blur_weight,
            image,
            scratch,
            product,
        )
        curvature = 0.0
        for vertex in range(num):
            curvature += direction[vertex] * product[vertex]
        if curvature <= 0.0:
            break
        step = energy / curvature
        previous = energy
        energy = 0.0
        for vertex in range(num):
            surface[vertex] += step * direction[vertex]
            residual[vertex] -= step * product[vertex]
            energy += residual[vertex] * residual[vertex] * scale[vertex]
        turn = energy / previous
        for vertex in range(num):
            direction[vertex] = scale[vertex] * residual[vertex] + turn * direction[vertex]
        iterations += 1
    for j in range(num_rows):
        for i in range(num_columns):
            node = j * num_columns + i
            value = 0.0
            for vertex in range(offset[node], offset[node + 1]):
                value += coverage[vertex] * surface[vertex]
            fitted[j, i] = value
    _blur(fitted, scratch, passes, blur_weight)
    return iterations, math.sqrt(energy / first) if first > 0.0 else 0.0


@njit(nogil=True, cache=True)
def slice_surface(
    first, end, labels, fallback, spacing, left, top, offset, vertex_label, surface, columns, out
):
    width = labels.shape[1]
    for y in range(first, end):
        grid_y = (y + 0.5 - top) / spacing
        j = int(grid_y)
        down_part = grid_y - j
        for x in range(width):
            grid_x = (x + 0.5 - left) / spacing
            i = int(grid_x)
            right_part = grid_x - i
            node = j * columns + i
            if offset[node + 2] - offset[node] == 2 and (
                offset[node + columns + 2] - offset[node + columns] == 2
            ):
                # Four nodes of one mask each: all hold this pixel's, which reaches them all.
                near = surface[offset[node]]
                near += right_part * (surface[offset[node + 1]] - near)
                far = surface[offset[node + columns]]
                far += right_part * (surface[offset[node + columns + 1]] - far)
                out[y, x] = max(near + down_part * (far - near), 0.0)
                continue
            label = labels[y, x]
            total = 0.0
            value = 0.0
            for corner in range(4):
                weight = down_part if corner >= 2 else 1.0 - down_part
                weight *= right_part if corner % 2 == 1 else 1.0 - right_part
                node = (j + corner // 2) * columns + i + corner % 2
                for vertex in range(offset[node], offset[node + 1]):
                    if vertex_label[vertex] == label:
                        total += weight
                        value += weight * surface[vertex]
                        break
            out[y, x] = max(value / total, 0.0) if total > 0.01 else fallback[y, x]


@njit(nogil=True, cache=True)
def mark_jumps(first, end, labels, surface, threshold, flat):
    height, width = labels.shape
    for y in range(first, end):
        for x in range(width):
            flat[y, x] = 1
        for x in range(width):
            label = labels[y, x]
            value = surface[y, x]
            if (
                (x > 0 and labels[y, x - 1] != label and abs(surface[y, x - 1] - value) > threshold)
                or (
                    x + 1 < width
                    and labels[y, x + 1] != label
                    and abs(surface[y, x + 1] - value) > threshold
                )
                or (
                    y > 0
                    and labels[y - 1, x] != label
                    and abs(surface[y - 1, x] - value) > threshold
                )
                or (
                    y + 1 < height
                    and labels[y + 1, x] != label
                    and abs(surface[y + 1, x] - value) > threshold
                )
            ):
                flat[y, x] = 0


@njit(nogil=True, cache=True)
def blend(
    first,
    end,
    disparity,
    surface,
    confidence,
    distance,
    near,
    far,
    strength,
    spacing,
    left,
    top,
    out,
):
    width = disparity.shape[1]
    for y in range(first, end):
        grid_y = (y + 0.5 - top) / spacing
        j = int(grid_y)
        fy = grid_y - j
        for x in range(width):
            replace = 0.0
            away = distance[y, x]
            if away < far:
                grid_x = (x + 0.5 - left) / spacing
                i = int(grid_x)
                fx = grid_x - i
                above = strength[j, i] + fx * (strength[j, i + 1] - strength[j, i])
                below = strength[j + 1, i] + fx * (strength[j + 1, i + 1] - strength[j + 1, i])
                t = min(max((far - away) / (far - near), 0.0), 1.0)
                replace = t * t * (3.0 - 2.0 * t) * (above + fy * (below - above))
            trust = confidence[0, 0] if confidence.size == 1 else confidence[y, x]
            replace = 1.0 - (1.0 - replace) * trust
            value = disparity[y, x]
            out[y, x] = value if replace <= 0.0 else value + replace * (surface[y, x] - value)
