//! Which inputs of a network drove its output: layer-wise relevance propagation.
//!
//! The output's relevance is handed back node by node until it lies on the inputs. A neuron hands
//! its relevance to the inputs that pushed it where it went, in proportion to how hard they pushed:
//! of the contributions a·w those count that have the sign of the neuron's value. For neurons behind
//! a ReLU that is the z⁺ rule of Montavon et al. (2017). Biases get nothing and nothing is lost, so
//! the relevance of the inputs sums to that of the output.
//!
//! The layers are those of the ONNX file itself; tract computes every value in between. Where one
//! factor is data and the other a mean, a contrast or a mask, the data take all (Arras et al. 2017).

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{ModelProto, NodeProto};
use tract_onnx::prelude::*;

/// Why a network cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum RelevanceError {
    /// The engine cannot read or run it.
    #[error("the network cannot be run: {0}")]
    Engine(String),
    /// A layer of a kind that has no rule here.
    #[error("the network has a layer {op} ({name}) that relevance cannot be traced through")]
    Layer {
        /// Its operator in ONNX.
        op: String,
        /// Its name.
        name: String,
    },
}

fn engine(error: TractError) -> RelevanceError {
    RelevanceError::Engine(format!("{error:#}"))
}

/// A tensor with its shape; row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// A network whose relevance can be traced.
pub struct EyeNetwork {
    nodes: Vec<NodeProto>,
    /// Names of all values, in the order in which the plan gives them.
    names: Vec<String>,
    inputs: Vec<String>,
    /// Values that do not depend on the inputs.
    constants: HashSet<String>,
    /// From the output of a product without bias to that of the addition of its bias.
    biased: HashMap<String, String>,
    plan: Arc<TypedSimplePlan>,
}

/// Every value of one run, by name.
pub type Run = HashMap<String, Values>;

impl EyeNetwork {
    /// Reads a network.
    ///
    /// # Errors
    /// [`RelevanceError::Engine`].
    pub fn read(onnx: &[u8]) -> Result<Self, RelevanceError> {
        let framework = tract_onnx::onnx();
        let proto: ModelProto = framework
            .proto_model_for_read(&mut &onnx[..])
            .map_err(engine)?;
        let parsed = framework.parse(&proto, None).map_err(engine)?;
        let mut model = parsed.model;
        let inputs = model
            .inputs
            .iter()
            .map(|outlet| model.node(outlet.node).name.clone())
            .collect();
        let mut named: Vec<(String, OutletId)> = parsed.outlets_by_name.into_iter().collect();
        named.sort();
        let (names, outlets): (Vec<String>, Vec<OutletId>) = named.into_iter().unzip();
        model.select_output_outlets(&outlets).map_err(engine)?;
        let plan = model
            .into_typed()
            .and_then(|model| model.into_runnable())
            .map_err(engine)?;
        let graph = proto.graph.unwrap_or_default();
        let mut constants: HashSet<String> = graph
            .initializer
            .iter()
            .map(|tensor| tensor.name.clone())
            .collect();
        for node in &graph.node {
            if node.input.iter().all(|name| constants.contains(name)) {
                constants.extend(node.output.iter().cloned());
            }
        }
        let biased = graph
            .node
            .iter()
            .filter(|node| node.op_type == "Add")
            .filter_map(|node| {
                let product = node.input.iter().find(|name| !constants.contains(*name))?;
                let is_bias = node.input.iter().any(|name| constants.contains(name));
                is_bias.then(|| (product.clone(), node.output[0].clone()))
            })
            .collect();
        Ok(EyeNetwork {
            nodes: graph.node,
            names,
            inputs,
            constants,
            biased,
            plan,
        })
    }

    /// Runs the network; `inputs` by name.
    ///
    /// # Errors
    /// [`RelevanceError::Engine`].
    pub fn run(&self, inputs: &HashMap<&str, Values>) -> Result<Run, RelevanceError> {
        let tensors = self
            .inputs
            .iter()
            .map(|name| {
                let given = inputs
                    .get(name.as_str())
                    .ok_or_else(|| RelevanceError::Engine(format!("it needs the input {name}")))?;
                Tensor::from_shape(&given.shape, &given.values)
                    .map(IntoTValue::into_tvalue)
                    .map_err(engine)
            })
            .collect::<Result<TVec<TValue>, _>>()?;
        let found = self.plan.run(tensors).map_err(engine)?;
        let values = found.iter().map(|tensor| {
            let numbers = tensor.cast_to::<f32>()?;
            Ok(Values {
                shape: tensor.shape().to_vec(),
                values: numbers.try_as_plain_ram()?.as_slice::<f32>()?.to_vec(),
            })
        });
        let values = values
            .collect::<TractResult<Vec<Values>>>()
            .map_err(engine)?;
        Ok(self.names.iter().cloned().zip(values).collect())
    }

    /// Hands the relevance of `output` back to the inputs; `relevance` has a number for each of its
    /// values, zero or above.
    ///
    /// # Errors
    /// [`RelevanceError::Layer`] where a layer has no rule.
    pub fn trace(
        &self,
        run: &Run,
        output: &str,
        relevance: Vec<f32>,
    ) -> Result<HashMap<String, Vec<f32>>, RelevanceError> {
        let mut of: HashMap<String, Vec<f32>> = HashMap::new();
        of.insert(output.to_owned(), relevance);
        for node in self.nodes.iter().rev() {
            let Some(relevance) = node.output.first().and_then(|name| of.remove(name)) else {
                continue;
            };
            for (input, share) in self.hand_back(run, node, &relevance)? {
                let sum = of.entry(input).or_insert_with(|| vec![0.0; share.len()]);
                for (sum, share) in sum.iter_mut().zip(share) {
                    *sum += share;
                }
            }
        }
        of.retain(|name, _| self.inputs.contains(name));
        Ok(of)
    }

    fn hand_back(
        &self,
        run: &Run,
        node: &NodeProto,
        relevance: &[f32],
    ) -> Result<Vec<(String, Vec<f32>)>, RelevanceError> {
        let layer = || RelevanceError::Layer {
            op: node.op_type.clone(),
            name: node.name.clone(),
        };
        let input = |k: usize| {
            node.input
                .get(k)
                .and_then(|name| run.get(name))
                .ok_or_else(layer)
        };
        let result = run.get(&node.output[0]).ok_or_else(layer)?;
        let only = |shares: Vec<f32>| vec![(node.input[0].clone(), shares)];
        Ok(match node.op_type.as_str() {
            "Relu" | "LeakyRelu" | "Sigmoid" | "Tanh" | "Clip" | "HardSwish" | "HardSigmoid"
            | "Identity" | "Flatten" | "Reshape" | "Unsqueeze" | "Squeeze" => {
                only(relevance.to_vec())
            }
            "Conv" => only(conv(node, input(0)?, input(1)?, result, relevance).ok_or_else(layer)?),
            "Gemm" => {
                let is_transposed = node.get_attr_opt("transB").map_err(engine)? == Some(1i64);
                only(product(
                    input(0)?,
                    input(1)?,
                    is_transposed,
                    &result.values,
                    relevance,
                ))
            }
            "MatMul" if self.constants.contains(&node.input[1]) => {
                // The sign of a neuron is that of its value with its bias.
                let with_bias = self
                    .biased
                    .get(&node.output[0])
                    .and_then(|name| run.get(name));
                let signs = &with_bias.unwrap_or(result).values;
                only(product(input(0)?, input(1)?, false, signs, relevance))
            }
            "ReduceMean" | "GlobalAveragePool" => {
                let x = input(0)?;
                // An attribute, or since opset 18 an input.
                let named: Option<Vec<i64>> = node.get_attr_opt_vec("axes").map_err(engine)?;
                let axes = match (named, input(1)) {
                    _ if node.op_type == "GlobalAveragePool" => (2..x.shape.len() as i64).collect(),
                    (Some(axes), _) => axes,
                    (None, Ok(axes)) => axes.values.iter().map(|&axis| axis as i64).collect(),
                    (None, Err(_)) => Vec::new(),
                };
                only(mean(x, &axes, result, relevance).ok_or_else(layer)?)
            }
            "Add" | "Sub" | "Mul" | "Div" => self
                .elementwise(run, node, result, relevance)
                .ok_or_else(layer)?,
            "Concat" => {
                let axis: i64 = node.get_attr("axis").map_err(engine)?;
                let shapes: Option<Vec<&Values>> =
                    node.input.iter().map(|name| run.get(name)).collect();
                let parts = split(&shapes.ok_or_else(layer)?, axis, relevance);
                node.input.iter().cloned().zip(parts).collect()
            }
            "Slice" => {
                let numbers = |k: usize| input(k).map(|values| values.values.clone());
                let (source, starts) = (input(0)?, numbers(1)?);
                let steps = numbers(4).unwrap_or_else(|_| vec![1.0; starts.len()]);
                let axes: Vec<f32> = match numbers(3) {
                    Ok(axes) => axes,
                    Err(_) => (0..steps.len()).map(|k| k as f32).collect(),
                };
                only(unslice(
                    source,
                    result,
                    &numbers(1)?,
                    &axes,
                    &steps,
                    relevance,
                ))
            }
            "Transpose" => {
                let order: Vec<i64> = node.get_attr_vec("perm").map_err(engine)?;
                only(untranspose(input(0)?, result, &order, relevance))
            }
            _ => return Err(layer()),
        })
    }

    /// Two factors or summands; none when both are data that are spread out over the result.
    fn elementwise(
        &self,
        run: &Run,
        node: &NodeProto,
        result: &Values,
        relevance: &[f32],
    ) -> Option<Vec<(String, Vec<f32>)>> {
        let n = relevance.len();
        let whole: Vec<&String> = node
            .input
            .iter()
            .filter(|name| !self.constants.contains(*name))
            .filter(|name| {
                run.get(*name)
                    .is_some_and(|values| values.values.len() == n)
            })
            .collect();
        match (whole.as_slice(), node.op_type.as_str()) {
            ([], _) => {
                let mut data = node
                    .input
                    .iter()
                    .filter(|name| !self.constants.contains(*name));
                match (data.next(), data.next()) {
                    (Some(name), None) => {
                        let back = gather(run.get(name)?, result, relevance);
                        Some(vec![(name.clone(), back)])
                    }
                    _ => None,
                }
            }
            ([one, other], "Add" | "Sub") => {
                let sign = if node.op_type == "Sub" { -1.0 } else { 1.0 };
                let (a, b) = (&run[*one].values, &run[*other].values);
                let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
                for k in 0..n {
                    let mut shares = [a[k], sign * b[k]];
                    shares_of(&mut shares, result.values[k]);
                    (first[k], second[k]) = (shares[0] * relevance[k], shares[1] * relevance[k]);
                }
                Some(vec![((*one).clone(), first), ((*other).clone(), second)])
            }
            ([one, ..], _) => Some(vec![((*one).clone(), relevance.to_vec())]),
        }
    }
}

/// Turns contributions to a sum into the shares of its relevance: those with the sign of `value`
/// count; where there are none, all count by their size; where all are zero, all alike.
fn shares_of(contributions: &mut [f32], value: f32) {
    let sign = if value < 0.0 { -1.0 } else { 1.0 };
    let agreeing: f32 = contributions.iter().map(|c| (sign * c).max(0.0)).sum();
    if agreeing > 0.0 {
        for c in contributions.iter_mut() {
            *c = (sign * *c).max(0.0) / agreeing;
        }
        return;
    }
    let size: f32 = contributions.iter().map(|c| c.abs()).sum();
    let alike = 1.0 / contributions.len() as f32;
    for c in contributions.iter_mut() {
        *c = if size > 0.0 { c.abs() / size } else { alike };
    }
}

/// x W (or x Wᵀ): rows of x are independent.
fn product(
    x: &Values,
    weights: &Values,
    is_transposed: bool,
    signs: &[f32],
    relevance: &[f32],
) -> Vec<f32> {
    let n_in = x.shape.last().copied().unwrap_or(1);
    let n_out = weights.values.len() / n_in;
    let mut back = vec![0.0; x.values.len()];
    let mut shares = vec![0.0; n_in];
    for (row, (x, back)) in x.values.chunks(n_in).zip(back.chunks_mut(n_in)).enumerate() {
        for j in 0..n_out {
            let r = relevance[row * n_out + j];
            if r == 0.0 {
                continue;
            }
            for (i, share) in shares.iter_mut().enumerate() {
                let k = if is_transposed {
                    j * n_in + i
                } else {
                    i * n_out + j
                };
                *share = x[i] * weights.values[k];
            }
            shares_of(&mut shares, signs[row * n_out + j]);
            for (back, share) in back.iter_mut().zip(&shares) {
                *back += r * share;
            }
        }
    }
    back
}

/// A 2-D convolution, in groups or not; none when its attributes are not those of one.
fn conv(
    node: &NodeProto,
    x: &Values,
    weights: &Values,
    result: &Values,
    relevance: &[f32],
) -> Option<Vec<f32>> {
    let attribute = |name: &str, default: i64, n: usize| -> Option<Vec<i64>> {
        Some(
            node.get_attr_opt_vec(name)
                .ok()?
                .unwrap_or_else(|| vec![default; n]),
        )
    };
    let (strides, dilations) = (attribute("strides", 1, 2)?, attribute("dilations", 1, 2)?);
    let pads = attribute("pads", 0, 4)?;
    let groups = node.get_attr_opt::<i64>("group").ok()?.unwrap_or(1) as usize;
    let (&[n, channels, rows, columns], &[_, out_channels, out_rows, out_columns]) =
        (x.shape.as_slice(), result.shape.as_slice())
    else {
        return None;
    };
    let &[_, in_group, kernel_rows, kernel_columns] = weights.shape.as_slice() else {
        return None;
    };
    let out_group = out_channels / groups;
    let mut back = vec![0.0; x.values.len()];
    let (mut places, mut shares) = (Vec::new(), Vec::new());
    let outputs = (0..n * out_channels * out_rows * out_columns).filter(|&j| relevance[j] != 0.0);
    for j in outputs {
        let (column, row) = (j % out_columns, j / out_columns % out_rows);
        let (channel, picture) = (
            j / (out_columns * out_rows) % out_channels,
            j / (out_columns * out_rows * out_channels),
        );
        places.clear();
        shares.clear();
        for c in 0..in_group {
            let source = picture * channels + channel / out_group * in_group + c;
            for ky in 0..kernel_rows {
                let y = row as i64 * strides[0] + ky as i64 * dilations[0] - pads[0];
                for kx in 0..kernel_columns {
                    let x_at = column as i64 * strides[1] + kx as i64 * dilations[1] - pads[1];
                    if !(0..rows as i64).contains(&y) || !(0..columns as i64).contains(&x_at) {
                        continue;
                    }
                    let place = (source * rows + y as usize) * columns + x_at as usize;
                    let weight =
                        ((channel * in_group + c) * kernel_rows + ky) * kernel_columns + kx;
                    places.push(place);
                    shares.push(x.values[place] * weights.values[weight]);
                }
            }
        }
        shares_of(&mut shares, result.values[j]);
        for (place, share) in places.iter().zip(&shares) {
            back[*place] += relevance[j] * share;
        }
    }
    Some(back)
}

/// A mean over some axes; none when the result does not have the other ones.
fn mean(x: &Values, axes: &[i64], result: &Values, relevance: &[f32]) -> Option<Vec<f32>> {
    let rank = x.shape.len();
    let is_reduced: Vec<bool> = (0..rank)
        .map(|k| axes.is_empty() || axes.iter().any(|&axis| axis_of(axis, rank) == k))
        .collect();
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); relevance.len()];
    for k in 0..x.values.len() {
        let mut rest = k;
        let (mut target, mut stride) = (0, 1);
        for (&length, &is_reduced) in x.shape.iter().zip(&is_reduced).rev() {
            if !is_reduced {
                target += rest % length * stride;
                stride *= length;
            }
            rest /= length;
        }
        members.get_mut(target)?.push(k);
    }
    let mut back = vec![0.0; x.values.len()];
    for (j, members) in members.iter().enumerate() {
        let mut shares: Vec<f32> = members.iter().map(|&k| x.values[k]).collect();
        shares_of(&mut shares, result.values[j]);
        for (&k, share) in members.iter().zip(shares) {
            back[k] += relevance[j] * share;
        }
    }
    Some(back)
}

/// An axis counted from the end when negative.
fn axis_of(axis: i64, rank: usize) -> usize {
    if axis < 0 {
        (axis + rank as i64) as usize
    } else {
        axis as usize
    }
}

fn split(parts: &[&Values], axis: i64, relevance: &[f32]) -> Vec<Vec<f32>> {
    let axis = axis_of(axis, parts[0].shape.len());
    let inner: usize = parts[0].shape[axis + 1..].iter().product();
    let widths: Vec<usize> = parts.iter().map(|part| part.shape[axis] * inner).collect();
    let mut back: Vec<Vec<f32>> = vec![Vec::new(); parts.len()];
    for row in relevance.chunks(widths.iter().sum()) {
        let mut rest = row;
        for (part, width) in back.iter_mut().zip(&widths) {
            part.extend_from_slice(&rest[..*width]);
            rest = &rest[*width..];
        }
    }
    back
}

/// Calls `take(index in the result, multi-index)` for each value of a tensor.
fn each_place(shape: &[usize], mut take: impl FnMut(usize, &[usize])) {
    let mut place = vec![0; shape.len()];
    for k in 0..shape.iter().product() {
        let mut rest = k;
        for (at, &length) in place.iter_mut().zip(shape).rev() {
            *at = rest % length;
            rest /= length;
        }
        take(k, &place);
    }
}

fn offset(shape: &[usize], place: &[usize]) -> usize {
    shape
        .iter()
        .zip(place)
        .fold(0, |sum, (&length, &at)| sum * length + at)
}

/// Gathers relevance where a value was spread out along axes of length 1.
fn gather(source: &Values, result: &Values, relevance: &[f32]) -> Vec<f32> {
    let mut back = vec![0.0; source.values.len()];
    let missing = result.shape.len() - source.shape.len();
    each_place(&result.shape, |k, place| {
        let from: Vec<usize> = source
            .shape
            .iter()
            .zip(&place[missing..])
            .map(|(&length, &at)| if length == 1 { 0 } else { at })
            .collect();
        back[offset(&source.shape, &from)] += relevance[k];
    });
    back
}

fn unslice(
    source: &Values,
    result: &Values,
    starts: &[f32],
    axes: &[f32],
    steps: &[f32],
    relevance: &[f32],
) -> Vec<f32> {
    let rank = source.shape.len();
    let (mut first, mut step) = (vec![0i64; rank], vec![1i64; rank]);
    for ((&start, &axis), &by) in starts.iter().zip(axes).zip(steps) {
        let axis = axis_of(axis as i64, rank);
        let length = source.shape[axis] as i64;
        let start = start as i64;
        first[axis] = if start < 0 { start + length } else { start }.clamp(0, length - 1);
        step[axis] = by as i64;
    }
    let mut back = vec![0.0; source.values.len()];
    each_place(&result.shape, |k, place| {
        let from: Vec<usize> = (0..rank)
            .map(|axis| (first[axis] + place[axis] as i64 * step[axis]) as usize)
            .collect();
        back[offset(&source.shape, &from)] += relevance[k];
    });
    back
}

fn untranspose(source: &Values, result: &Values, order: &[i64], relevance: &[f32]) -> Vec<f32> {
    let mut back = vec![0.0; source.values.len()];
    each_place(&result.shape, |k, place| {
        let mut from = vec![0; place.len()];
        for (&axis, &at) in order.iter().zip(place) {
            from[axis as usize] = at;
        }
        back[offset(&source.shape, &from)] = relevance[k];
    });
    back
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(shape: &[usize], values: &[f32]) -> Values {
        Values {
            shape: shape.to_vec(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn shares_follow_the_contributions_that_agree() {
        let shares = |contributions: [f32; 3], value| {
            let mut shares = contributions;
            shares_of(&mut shares, value);
            shares
        };
        assert_eq!(shares([3.0, -5.0, 1.0], 0.2), [0.75, 0.0, 0.25]);
        assert_eq!(shares([3.0, -5.0, 1.0], -1.0), [0.0, 1.0, 0.0]);
        // A bias alone made it positive; then size counts.
        assert_eq!(shares([-3.0, -1.0, 0.0], 1.0), [0.75, 0.25, 0.0]);
        assert_eq!(shares([0.0; 3], 1.0), [1.0 / 3.0; 3]);
    }

    #[test]
    fn a_product_hands_back_by_rows() {
        // x = (1, 2), W = ((1, -1), (2, 3)): y = (5, 5). Contributions (1, 4) and (-1, 6).
        let x = values(&[1, 2], &[1.0, 2.0]);
        let weights = values(&[2, 2], &[1.0, -1.0, 2.0, 3.0]);
        let back = product(&x, &weights, false, &[5.0, 5.0], &[10.0, 7.0]);
        assert_eq!(back, [2.0, 8.0 + 7.0]);
        let turned = values(&[2, 2], &[1.0, 2.0, -1.0, 3.0]);
        assert_eq!(product(&x, &turned, true, &[5.0, 5.0], &[10.0, 7.0]), back);
    }

    #[test]
    fn a_mean_hands_back_along_its_axis() {
        // Means over the middle axis: (1 + 3) / 2 and (2 - 2) / 2.
        let x = values(&[1, 2, 2], &[1.0, 2.0, 3.0, -2.0]);
        let result = values(&[1, 2], &[2.0, 0.0]);
        let back = mean(&x, &[1], &result, &[4.0, 1.0]).expect("the shapes agree");
        assert_eq!(back, [1.0, 1.0, 3.0, 0.0]);
    }

    #[test]
    fn routing_layers_put_relevance_where_the_values_came_from() {
        let (a, b) = (values(&[2, 1], &[0.0; 2]), values(&[2, 2], &[0.0; 4]));
        let parts = split(&[&a, &b], -1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(parts, [vec![1.0, 4.0], vec![2.0, 3.0, 5.0, 6.0]]);
        let source = values(&[2, 3], &[0.0; 6]);
        let last_columns = values(&[2, 1], &[0.0; 2]);
        let back = unslice(&source, &last_columns, &[-1.0], &[1.0], &[1.0], &[7.0, 8.0]);
        assert_eq!(back, [0.0, 0.0, 7.0, 0.0, 0.0, 8.0]);
        let row = values(&[1, 3], &[0.0; 3]);
        let back = gather(&row, &source, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(back, [5.0, 7.0, 9.0]);
        let turned = values(&[3, 2], &[0.0; 6]);
        let back = untranspose(&source, &turned, &[1, 0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(back, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
}
