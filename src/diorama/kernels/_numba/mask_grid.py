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
    last = num_columns - 1
    keep = image.dtype.type(1.0 - 2.0 * weight)
    weight = image.dtype.type(weight)
    for _ in range(passes):
        for j in range(num_rows):
            row = image[j]
            blurred = scratch[j]
            for i in range(1, last):
                blurred[i] = keep * row[i] + weight * (row[i - 1] + row[i + 1])
            # What would come from beyond the border is the border itself.
            blurred[0] = keep * row[0] + weight * (row[0] + row[min(1, last)])
            blurred[last] = keep * row[last] + weight * (row[max(last - 1, 0)] + row[last])
        for j in range(num_rows):
            row = scratch[j]
            above = scratch[max(j - 1, 0)]
            below = scratch[min(j + 1, num_rows - 1)]
            blurred = image[j]
            for i in range(num_columns):
                blurred[i] = keep * row[i] + weight * (above[i] + below[i])


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


# Sums may be reassociated into vectors: in the compiler's order, which is always the same.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
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
def fit_planes(mask, offset, columns, mean, weight, num, rounds, floor, plane):
    """Reweighted affine fits and constants; see `diorama.kernels.mask_grid.fit_planes`."""
    moments = np.empty((num, 12))
    affine = np.empty((num, 3))
    level = np.empty(num)
    spread = np.empty((num, 3))
    for turn in range(rounds):
        moments[:] = 0.0
        for node in range(offset.size - 1):
            x = float(node % columns)
            y = float(node // columns)
            for vertex in range(offset[node], offset[node + 1]):
                m = mask[vertex]
                d = float(mean[vertex])
                w = weight[vertex]
                constant_w = w
                if turn > 0:
                    away = d - affine[m, 0] - affine[m, 1] * x - affine[m, 2] * y
                    away /= 2.0 * spread[m, 1] + floor
                    constant_away = (d - level[m]) / (2.0 * spread[m, 2] + floor)
                    constant_w = w / (1.0 + constant_away * constant_away)
                    w /= 1.0 + away * away
                moments[m, 0] += w
                moments[m, 1] += w * x
                moments[m, 2] += w * y
                moments[m, 3] += w * d
                moments[m, 4] += w * x * x
                moments[m, 5] += w * x * y
                moments[m, 6] += w * y * y
                moments[m, 7] += w * x * d
                moments[m, 8] += w * y * d
                moments[m, 9] += constant_w
                moments[m, 10] += constant_w * d
        for m in range(num):
            mass = max(moments[m, 0], 1e-30)
            x, y, d = moments[m, 1] / mass, moments[m, 2] / mass, moments[m, 3] / mass
            # A mask one node wide has no slope across: a quarter of a node's variance holds it.
            xx = max(moments[m, 4] / mass - x * x, 0.0) + 0.25
            yy = max(moments[m, 6] / mass - y * y, 0.0) + 0.25
            xy = moments[m, 5] / mass - x * y
            xd = moments[m, 7] / mass - x * d
            yd = moments[m, 8] / mass - y * d
            determinant = xx * yy - xy * xy
            affine[m, 1] = (yy * xd - xy * yd) / determinant
            affine[m, 2] = (xx * yd - xy * xd) / determinant
            affine[m, 0] = d - affine[m, 1] * x - affine[m, 2] * y
            level[m] = moments[m, 10] / max(moments[m, 9], 1e-30)
        spread[:] = 0.0
        for node in range(offset.size - 1):
            x = float(node % columns)
            y = float(node // columns)
            for vertex in range(offset[node], offset[node + 1]):
                m = mask[vertex]
                d = float(mean[vertex])
                w = weight[vertex]
                spread[m, 0] += w
                spread[m, 1] += w * abs(d - affine[m, 0] - affine[m, 1] * x - affine[m, 2] * y)
                spread[m, 2] += w * abs(d - level[m])
        for m in range(num):
            mass = max(spread[m, 0], 1e-30)
            spread[m, 1] /= mass
            spread[m, 2] /= mass
    for node in range(offset.size - 1):
        x = float(node % columns)
        y = float(node // columns)
        for vertex in range(offset[node], offset[node + 1]):
            m = mask[vertex]
            if spread[m, 1] < 0.9 * spread[m, 2]:
                plane[vertex] = affine[m, 0] + affine[m, 1] * x + affine[m, 2] * y
            else:
                plane[vertex] = level[m]


@njit(nogil=True, cache=True)
def _corners(j, i, down_part, columns, label, offset, vertex_label, surface):
    """A mask's weighted sum and weight at the two left nodes of a cell, and at the two right."""
    left_sum = left_weight = right_sum = right_weight = 0.0
    for corner in range(4):
        weight = down_part if corner >= 2 else 1.0 - down_part
        node = (j + corner // 2) * columns + i + corner % 2
        for vertex in range(offset[node], offset[node + 1]):
            if vertex_label[vertex] == label:
                if corner % 2 == 1:
                    right_weight += weight
                    right_sum += weight * surface[vertex]
                else:
                    left_weight += weight
                    left_sum += weight * surface[vertex]
                break
    return left_sum, left_weight, right_sum, right_weight


@njit(nogil=True, cache=True)
def slice_surface(
    first, end, labels, fallback, spacing, left, top, offset, vertex_label, surface, columns, out
):
    width = labels.shape[1]
    per_pixel = 1.0 / spacing
    for y in range(first, end):
        grid_y = (y + 0.5 - top) * per_pixel
        j = int(grid_y)
        down_part = grid_y - j
        x = 0
        while x < width:
            # A run of one label in one cell: its nodes are read once.
            label = labels[y, x]
            i = int((x + 0.5 - left) * per_pixel)
            left_sum, left_weight, right_sum, right_weight = _corners(
                j, i, down_part, columns, label, offset, vertex_label, surface
            )
            whole = left_weight > 0.999 and right_weight > 0.999
            beyond = min(width, math.ceil(left + (i + 1) * spacing - 0.5))
            while x < max(beyond, 1) and labels[y, x] == label:
                part = (x + 0.5 - left) * per_pixel - i
                value = left_sum + part * (right_sum - left_sum)
                if not whole:
                    total = left_weight + part * (right_weight - left_weight)
                    value = value / total if total > 0.01 else fallback[y, x]
                out[y, x] = max(value, 0.0)
                x += 1


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
    per_pixel = 1.0 / spacing
    per_reach = 1.0 / (far - near)
    for y in range(first, end):
        grid_y = (y + 0.5 - top) * per_pixel
        j = int(grid_y)
        fy = grid_y - j
        for x in range(width):
            value = disparity[y, x]
            away = distance[y, x]
            trust = confidence[0, 0] if confidence.size == 1 else confidence[y, x]
            if away >= far and trust >= 1.0:
                out[y, x] = value
                continue
            grid_x = (x + 0.5 - left) * per_pixel
            i = int(grid_x)
            fx = grid_x - i
            above = strength[j, i] + fx * (strength[j, i + 1] - strength[j, i])
            below = strength[j + 1, i] + fx * (strength[j + 1, i + 1] - strength[j + 1, i])
            t = min(max((far - away) * per_reach, 0.0), 1.0)
            replace = t * t * (3.0 - 2.0 * t) * (above + fy * (below - above))
            replace = 1.0 - (1.0 - replace) * trust
            out[y, x] = value + replace * (surface[y, x] - value)
