//! From the graph's nodes to steps: which nodes share a value, and which values are stored.

use super::{ConvPlan, FlattenPlan, NormPlan, OPEN, Plan, PoolPlan, StepPlan, TensorId, Term, Value, ValueId};
use bidst_kernels::{Bounds, ConvShape, Plane, Pool, PoolKind, Storage};
use bidst_model::{Graph, NodeId, Op, Shape};

/// Lowers the graph; gradients are planned afterwards.
pub(super) fn lower(graph: &Graph) -> Plan {
    let mut lowering = Lowering { graph, plan: Plan::default(), value_of: Vec::new(), weights: 0, biases: 0 };
    for node in 0..graph.nodes().len() {
        let value = lowering.node(NodeId(node));
        lowering.value_of.push(value);
        if !lowering.stays_open(NodeId(node)) {
            lowering.close(value);
        }
    }
    lowering.plan.output = lowering.value_of[graph.output().0];
    let output = lowering.plan.output;
    lowering.store(output);
    lowering.let_convolutions_store();
    lowering.plan
}

struct Lowering<'g> {
    graph: &'g Graph,
    plan: Plan,
    value_of: Vec<ValueId>,
    weights: usize,
    biases: usize,
}

impl Lowering<'_> {
    fn node(&mut self, id: NodeId) -> ValueId {
        let node = self.graph.node(id).clone();
        let output = plane(node.shape);
        let input = node.inputs.first().map(|input| self.value_of[input.0]);
        match (node.op, input) {
            (Op::Input, _) => self.layer_output(output).1,
            (Op::Conv { kernel, stride, padding, groups, bias, .. }, Some(from)) => {
                let shape = ConvShape { input: self.plane(from), output, kernel, stride, padding, groups };
                self.conv(from, shape, bias)
            }
            (Op::Gemm { bias, .. }, Some(from)) => {
                let (kernel, stride, padding) = ([1; 2], [1; 2], [0; 2]);
                let shape = ConvShape { input: self.plane(from), output, kernel, stride, padding, groups: 1 };
                self.conv(from, shape, bias)
            }
            (Op::BatchNormalization { epsilon, momentum }, Some(input)) => self.norm(input, epsilon, momentum),
            (Op::Relu, Some(input)) => self.activation(input, Bounds::RELU),
            (Op::Clip { max }, Some(input)) => self.activation(input, Bounds::clip(max)),
            (Op::Add, Some(input)) => self.add(input, self.value_of[node.inputs[1].0]),
            (Op::MaxPool { kernel, stride, padding }, Some(from)) => {
                let (kind, input) = (PoolKind::Max, self.plane(from));
                self.pool(from, Pool { kind, input, output, kernel, stride, padding, storage: Default::default() })
            }
            (Op::AveragePool { kernel, stride, padding }, Some(from)) => {
                let (kind, input) = (PoolKind::Average, self.plane(from));
                self.pool(from, Pool { kind, input, output, kernel, stride, padding, storage: Default::default() })
            }
            (Op::GlobalAveragePool, Some(from)) => {
                let (kind, input, stride, padding) = (PoolKind::Average, self.plane(from), [1; 2], [0; 2]);
                let (kernel, storage) = ([input.height, input.width], Default::default());
                self.pool(from, Pool { kind, input, output, kernel, stride, padding, storage })
            }
            (Op::Flatten, Some(input)) => self.flatten(input, output),
            (op, None) => unreachable!("a graph gives every {} an input", op.kind()),
        }
    }

    fn conv(&mut self, input: ValueId, shape: ConvShape, has_bias: bool) -> ValueId {
        let bias = has_bias.then(|| {
            self.biases += 1;
            self.biases - 1
        });
        let (output, value) = self.layer_output(shape.output);
        let (weight, input_gradient) = (self.weights, None);
        self.weights += 1;
        let conv = ConvPlan { shape, weight, bias, input, output, keep: false, input_gradient };
        self.plan.steps.push(StepPlan::Conv(conv));
        value
    }

    fn pool(&mut self, input: ValueId, pool: Pool) -> ValueId {
        self.store(input);
        let (output, value) = self.layer_output(pool.output);
        self.plan.steps.push(StepPlan::Pool(PoolPlan { pool, input, output, input_gradient: None }));
        value
    }

    fn flatten(&mut self, input: ValueId, output: Plane) -> ValueId {
        if self.plan.values[input].plane == output {
            return input;
        }
        self.store(input);
        let (tensor, value) = self.layer_output(output);
        self.plan.steps.push(StepPlan::Flatten(FlattenPlan { input, output: tensor, input_gradient: None }));
        value
    }

    fn norm(&mut self, input: ValueId, epsilon: f32, momentum: f32) -> ValueId {
        let value = self.extendable(input);
        let Term { tensor, of, .. } = self.plan.values[value].terms[0];
        let norm = self.plan.norms.len();
        self.plan.values[value].terms[0].norm = Some(norm);
        let made_here = |step: &StepPlan| matches!(step, StepPlan::Conv(conv) if conv.output == tensor);
        let fused_moments = of.is_none() && self.plan.steps.iter().any(made_here);
        let plan = NormPlan { tensor, value, branch: 0, epsilon, momentum, fused_moments, gradient: None };
        self.plan.norms.push(plan);
        self.plan.steps.push(StepPlan::Norm(norm));
        value
    }

    fn activation(&mut self, input: ValueId, bounds: Bounds) -> ValueId {
        let value = self.extendable(input);
        self.plan.values[value].bounds = bounds;
        value
    }

    fn add(&mut self, left: ValueId, right: ValueId) -> ValueId {
        let (left, right) = if self.is_closed(left) { (right, left) } else { (left, right) };
        let value = self.extendable(left);
        let term = if self.is_closed(right) { self.stored_term(right) } else { self.plan.values[right].terms[0] };
        if let Some(norm) = term.norm {
            (self.plan.norms[norm].value, self.plan.norms[norm].branch) = (value, 1);
        }
        self.plan.values[value].terms.push(term);
        value
    }

    /// Can the only reader of this node still become part of its value?
    fn stays_open(&self, id: NodeId) -> bool {
        let value = &self.plan.values[self.value_of[id.0]];
        let [reader] = self.graph.consumers(id)[..] else { return false };
        if value.is_live() || value.bounds != Bounds::NONE {
            return false;
        }
        match self.graph.node(reader).op {
            Op::BatchNormalization { .. } => value.is_tensor(),
            Op::Relu | Op::Clip { .. } => true,
            Op::Add => value.terms.len() == 1,
            _ => false,
        }
    }

    fn plane(&self, value: ValueId) -> Plane {
        self.plan.values[value].plane
    }

    fn is_closed(&self, value: ValueId) -> bool {
        self.plan.values[value].is_live()
    }

    fn close(&mut self, value: ValueId) {
        if !self.is_closed(value) {
            self.plan.values[value].step = self.plan.steps.len();
            self.plan.steps.push(StepPlan::Value(value));
        }
    }

    /// The value itself while it is open, else a new one on top of it.
    fn extendable(&mut self, value: ValueId) -> ValueId {
        if self.is_closed(value) { self.alias(value) } else { value }
    }

    fn alias(&mut self, value: ValueId) -> ValueId {
        let term = self.stored_term(value);
        self.new_value(self.plan.values[value].plane, term)
    }

    fn stored_term(&mut self, value: ValueId) -> Term {
        Term { tensor: self.store(value), norm: None, of: Some(value) }
    }

    /// Makes sure that the value lies in memory.
    fn store(&mut self, value: ValueId) -> TensorId {
        if let Some(tensor) = self.plan.values[value].stored {
            return tensor;
        }
        let tensor = match &self.plan.values[value] {
            tensor if tensor.is_tensor() => tensor.terms[0].tensor,
            _ => self.new_tensor(self.plan.values[value].plane),
        };
        self.plan.values[value].stored = Some(tensor);
        tensor
    }

    fn layer_output(&mut self, plane: Plane) -> (TensorId, ValueId) {
        let tensor = self.new_tensor(plane);
        (tensor, self.new_value(plane, Term { tensor, norm: None, of: None }))
    }

    fn new_tensor(&mut self, plane: Plane) -> TensorId {
        self.plan.tensors.push(plane);
        self.plan.tensors.len() - 1
    }

    fn new_value(&mut self, plane: Plane, term: Term) -> ValueId {
        let (terms, bounds, storage) = (vec![term], Bounds::NONE, Storage::default());
        let value = Value { plane, storage, terms, bounds, stored: None, kept_by: None, step: OPEN, gradient: None };
        self.plan.values.push(value);
        self.plan.values.len() - 1
    }

    /// The first convolution that reads a stored value writes it on the way, if nobody needs it before.
    fn let_convolutions_store(&mut self) {
        for value in 0..self.plan.values.len() {
            if self.plan.values[value].stored.is_none() || self.plan.values[value].is_tensor() {
                continue;
            }
            let keeps = |&(at, input): &(usize, ValueId)| {
                input == value && matches!(&self.plan.steps[at], StepPlan::Conv(c) if c.shape.reads_everything())
            };
            let Some((keeper, _)) = self.plan.inputs().find(keeps) else { continue };
            let early = |&(at, input): &(usize, ValueId)| {
                input == value && at < keeper && !matches!(self.plan.steps[at], StepPlan::Conv(_))
            };
            let reads = |other: &Value| other.terms.iter().any(|term| term.of == Some(value)) && other.step < keeper;
            let norms_early = self.plan.norms.iter().enumerate().any(|(id, norm)| {
                let reads = self.plan.values[norm.value].terms[norm.branch].of == Some(value);
                reads && self.plan.steps[..keeper].iter().any(|step| matches!(step, StepPlan::Norm(n) if *n == id))
            });
            if self.plan.inputs().any(|input| early(&input)) || self.plan.values.iter().any(reads) || norms_early {
                continue;
            }
            self.plan.values[value].kept_by = Some(keeper);
            if let StepPlan::Conv(conv) = &mut self.plan.steps[keeper] {
                conv.keep = true;
            }
        }
    }
}

fn plane(shape: Shape) -> Plane {
    Plane { channels: shape.channels, height: shape.height, width: shape.width }
}
